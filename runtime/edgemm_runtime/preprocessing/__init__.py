"""The preprocessing of images into inputs, as a bundle declares it.

The same pixels give the same array as at conversion.
"""
