"""A DICOM document store: original bytes, a queryable tag tree, a flat tag index and rendered pictures."""

__version__ = "0.1.0"
