"""dicomweb-client and dicomtrolley against one patient's root: what they store is what they find and get."""

import io

import numpy as np
import pydicom
import pytest
from dicomtrolley.core import InstanceReference, Query, QueryLevels, SeriesReference, StudyReference
from dicomtrolley.qido_rs import QidoRS, RelationalQuery
from dicomtrolley.trolley import Trolley
from dicomtrolley.wado_rs import WadoRS, WadoRSMetaData
from PIL import Image

from tests.web.dicomweb.patient import FILES, content_of
from tests.web.dicomweb.retrieved import assert_same

# Some of the files have UIDs that pydicom warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")

FIRST, SECOND = "1.2.826.0.1.3680043.9.1.1", "1.2.826.0.1.3680043.9.1.2"
CT = "1.2.826.0.1.3680043.9.2.100"


def uids(dataset):
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def instances(found):
    return sorted(each["00080018"]["Value"][0] for each in found)


def test_what_dicomweb_client_stores_it_gets_back_by_every_way(patient):
    datasets = {name: pydicom.dcmread(io.BytesIO(content_of(name))) for name in FILES}
    stored = patient.client.store_instances(list(datasets.values()))
    assert len(stored.ReferencedSOPSequence) == len(FILES)
    for name, dataset in datasets.items():
        study, series, instance = uids(dataset)
        for stored_form in (True, False):
            kinds = {"media_types": (("application/dicom", "*"),)} if stored_form else {}
            for got in (
                patient.client.retrieve_instance(study, series, instance, **kinds),
                *(each for each in patient.client.retrieve_series(study, series, **kinds) if uids(each)[2] == instance),
                *(each for each in patient.client.iter_study(study, **kinds) if uids(each)[2] == instance),
            ):
                if stored_form:
                    assert got == dataset, name
                    assert got.file_meta == dataset.file_meta, name
                else:
                    assert_same(dataset, got)
        (metadata,) = (
            each for each in patient.client.retrieve_study_metadata(study) if each["00080018"]["Value"] == [instance]
        )
        assert metadata == patient.client.retrieve_instance_metadata(study, series, instance)
        assert metadata in patient.client.retrieve_series_metadata(study, series)
        if "PixelData" in dataset:
            numbers = list(range(1, int(dataset.get("NumberOfFrames", 1)) + 1))
            frames = list(patient.client.iter_instance_frames(study, series, instance, numbers))
            assert frames == patient.client.retrieve_instance_frames(study, series, instance, numbers)
            if dataset.file_meta.TransferSyntaxUID.is_compressed:
                assert frames == list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=len(numbers)))
            else:
                native = patient.client.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"])
                assert b"".join(frames) == b"".join(native)


def test_an_instance_for_another_study_is_refused_and_the_client_told(patient, ct):
    dataset = pydicom.dcmread(io.BytesIO(ct))
    with pytest.raises(Exception, match="409"):
        patient.client.store_instances([dataset], study_instance_uid="1.2.3")
    assert patient.client.search_for_studies() == []
    stored = patient.client.store_instances([dataset], study_instance_uid=dataset.StudyInstanceUID)
    assert stored.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    assert stored.RetrieveURL == f"{patient.root}/studies/{dataset.StudyInstanceUID}"


@pytest.mark.parametrize("level", ["studies", "series", "instances"])
def test_pages_of_dicomweb_client_hold_all_without_and_with_get_remaining(library, level):
    search = getattr(library.client, f"search_for_{level}")
    everything = search()
    assert len(everything) == {"studies": 2, "series": 4, "instances": 12}[level]
    for limit in (1, 2, 5, 12, 100):
        assert search(limit=limit, get_remaining=True) == everything
        pages = [search(limit=limit, offset=offset) for offset in range(0, len(everything), limit)]
        assert [each for page in pages for each in page] == everything
    assert search(offset=100) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"StudyDate": "20240101-20240201"}, 6),
        ({"00080020": "-20240201"}, 6),
        ({"PatientName": "M*"}, 12),
        ({"PatientName": "M?ller^*"}, 12),
        ({"Modality": "PT", "SeriesNumber": 201}, 3),
        ({"InstanceNumber": 2}, 4),
        ({"SliceThickness": 5}, 12),
        ({"SOPInstanceUID": "1.2.826.0.1.3680043.9.3.100.1,1.2.826.0.1.3680043.9.3.201.3"}, 2),
        ({"StudyInstanceUID": FIRST, "SeriesDescription": "Series 1*"}, 6),
        ({"OtherPatientIDs": "none"}, 0),
        ({"RequestAttributesSequence.ScheduledProcedureStepID": "none"}, 0),
    ],
)
def test_dicomweb_client_filters_instances(library, filters, expected):
    assert len(library.client.search_for_instances(search_filters=filters)) == expected


def test_dicomweb_client_matches_names_fuzzily_and_asks_for_fields(library):
    found = library.client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "anne mul"})
    assert [each["0020000D"]["Value"] for each in found] == [[FIRST]]
    found = library.client.search_for_instances(FIRST, CT, fields=["SliceThickness", "00080070"], limit=1)
    assert found[0]["00180050"]["Value"] == [5.0]
    assert "00080070" in found[0]
    assert library.client.search_for_studies(
        additional_params={"StudyDescription": '""', "emptyvaluematching": "true"}
    ) == library.client.search_for_studies(search_filters={"StudyInstanceUID": FIRST})


def test_dicomweb_client_gets_pictures_of_all_that_has_some(library):
    instance = (FIRST, CT, "1.2.826.0.1.3680043.9.3.100.1")
    for kind, form in (("image/png", "PNG"), ("image/jpeg", "JPEG")):
        for made in (
            library.client.retrieve_instance_rendered(*instance, media_types=(kind,)),
            library.client.retrieve_instance_frames_rendered(*instance, [1], media_types=(kind,)),
            library.client.retrieve_series_rendered(*instance[:2], media_types=(kind,)),
        ):
            picture = Image.open(io.BytesIO(made))
            assert (picture.format, picture.size) == (form, (128, 128))
    shaped = library.client.retrieve_instance_rendered(
        *instance, media_types=("image/png",), params={"viewport": "64,64", "window": "40,400,linear"}
    )
    assert Image.open(io.BytesIO(shaped)).size == (64, 64)
    assert library.client.retrieve_instance_rendered(*instance)[:3] == b"\xff\xd8\xff"


def trolley(patient, downloader):
    return Trolley(
        searcher=QidoRS(session=patient.session, url=patient.root),
        downloader=downloader(session=patient.session, url=patient.root),
    )


def test_dicomtrolley_downloads_studies_series_and_instances_as_they_were_stored(stored, library):
    for reference, expected in (
        (StudyReference(study_uid=FIRST), 6),
        (SeriesReference(study_uid=FIRST, series_uid=CT), 3),
        (InstanceReference(study_uid=FIRST, series_uid=CT, instance_uid=f"{CT.replace('9.2', '9.3')}.2"), 1),
    ):
        assert len(list(trolley(library, WadoRS).fetch_all_datasets([reference]))) == expected
    for dataset in stored.datasets.values():
        study, series, instance = uids(dataset)
        reference = InstanceReference(study_uid=study, series_uid=series, instance_uid=instance)
        (got,) = trolley(stored, WadoRS).fetch_all_datasets([reference])
        assert_same(dataset, got)
        (metadata,) = trolley(stored, WadoRSMetaData).fetch_all_datasets([reference])
        assert uids(metadata) == (study, series, instance)


def test_dicomtrolley_searches_by_its_two_kinds_of_query(library):
    found = trolley(library, WadoRS).find_studies(
        RelationalQuery(query_level=QueryLevels.SERIES, ModalitiesInStudy="PT", PatientName="M?ller*")
    )
    assert {study.uid for study in found} == {FIRST, SECOND}
    named = trolley(library, WadoRS).find_studies(Query(AccessionNumber="A2", query_level=QueryLevels.SERIES))
    assert [len(study.series) for study in named] == [2]
    assert trolley(library, WadoRS).find_studies(Query(AccessionNumber="none", query_level=QueryLevels.STUDY)) == []


def test_decoded_frames_are_the_pixels_that_pydicom_reads(stored):
    explicit = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
    for name in ("CT_small.dcm", "SC_rgb_rle_2frame.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "rtdose_rle.dcm"):
        dataset = stored.datasets[name]
        numbers = list(range(1, int(dataset.get("NumberOfFrames", 1)) + 1))
        frames = stored.client.retrieve_instance_frames(*uids(dataset), numbers, media_types=explicit)
        pixels = dataset.pixel_array
        got = np.frombuffer(b"".join(frames), pixels.dtype.newbyteorder("<")).reshape(pixels.shape)
        assert np.array_equal(got, pixels), name
