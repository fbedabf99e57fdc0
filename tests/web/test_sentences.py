"""What a refusal says: a sentence with a subject, which names what is wrong and repeats no values."""

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")

INSTANCE = "/patient/p-1/dicom/5b1f0000-0000-5000-8000-000000000000"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (f"{INSTANCE}?window=40,0", "Invalid window: the width must be greater than zero."),
        (f"{INSTANCE}?window=40", "Invalid window: the value must be a center and a width, for example 40,400."),
        (f"{INSTANCE}?frame=0", "Invalid frame: frames are counted from 1."),
        (f"{INSTANCE}?window=40,400&voi=1", "Invalid window: it cannot be combined with voi."),
        (f"{INSTANCE}?size=1&size=2", "The parameter size may be given only once."),
        (f"{INSTANCE}?colour=red", "Unknown parameter. Use: frame, window, voi, size."),
        (f"{INSTANCE}/tags?limit=1", "Unknown parameter. This request takes none."),
        (f"{INSTANCE}/tag/SliceThicknes", "Unknown DICOM keyword: `SliceThicknes`. Did you mean `SliceThickness`?"),
        (
            "/patient/p-1/dicom?SliceThicknes=5",
            "Unknown parameter or DICOM keyword: `SliceThicknes`. Did you mean `SliceThickness`?",
        ),
        ("/patient/p-1/dicom?modality=CT", "Unknown parameter or DICOM keyword. Did you mean `Modality`?"),
        ("/patient/p-1/dicom?Miller=5", "Unknown parameter or DICOM keyword."),
        ("/patient/p-1/dicom?limit=x", "Invalid limit: the value must be a whole number."),
        ("/patient/p-1/dicom?fuzzymatching=yes", "Invalid fuzzymatching: the value must be true or false."),
        ("/patient/p-1/dicomweb/studies?limit=x", "Invalid limit: the value must be a whole number."),
        ("/patient/p-1/dicomweb/series?SliceThickWords=5", "Unknown parameter or DICOM keyword: `SliceThickWords`."),
    ],
)
async def test_a_refusal_says_what_is_wrong(service, path, sentence):
    answer = await service.ask("GET", path, patient="p-1", headers={"Content-Type": "image/png"})
    assert answer.status in {400, 422}
    assert answer.json()["detail"] == sentence


@pytest.mark.parametrize(
    ("replaced", "warning"),
    [
        ([b"5.000000"], "1 element could not be converted."),
        ([b"5.000000", b"0.661468"], "2 elements could not be converted."),
    ],
)
async def test_an_upload_counts_the_elements_that_could_not_be_converted(service, ct, patient, replaced, warning):
    for number in replaced:
        assert number in ct
        ct = ct.replace(number, b"x" * len(number), 1)
    answer = await service.upload(patient, ct)
    assert answer.headers["Warning"] == f'299 - "{warning}"'
