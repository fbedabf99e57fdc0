"""The routes of DICOMweb (PS3.18) below /patient/{patient_id}/dicomweb."""
