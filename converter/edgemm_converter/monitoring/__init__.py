"""The making of a bundle's monitor: from labelled data and corruptions, at conversion."""
