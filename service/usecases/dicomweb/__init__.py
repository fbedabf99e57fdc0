"""DICOMweb (PS3.18) as use cases: studies, series and instances by their UIDs, without HTTP."""
