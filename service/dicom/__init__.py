"""What DICOM files hold, as pure functions: bytes in, values out. Nothing here waits or knows a database."""
