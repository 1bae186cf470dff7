"""Inputs made of images as a bundle declares it; the same pixels give the same array as at conversion."""
