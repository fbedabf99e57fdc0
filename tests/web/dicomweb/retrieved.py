"""What is asked for by its UIDs, and the parts of the answer."""

import numpy as np

EXPLICIT = "1.2.840.10008.1.2.1"
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def uids(dataset):
    return tuple(str(dataset[keyword].value) for keyword in UIDS)


def path(dataset, depth=3):
    return "".join(
        f"/{word}/{uid}" for word, uid in zip(("studies", "series", "instances"), uids(dataset)[:depth], strict=False)
    )


def parts_of(response):
    kind, _, rest = response.headers["Content-Type"].partition(";")
    assert kind == "multipart/related"
    boundary = rest.split("boundary=")[1].strip('"').encode()
    body = response.content
    assert body.endswith(b"\r\n--" + boundary + b"--\r\n")
    found = []
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        assert int(headers["Content-Length"]) == len(content)
        found.append((headers, content))
    return found


def assert_same(dataset, got):
    """What was retrieved says and shows what was stored; compressed pixel data may have been decoded."""
    compressed = dataset.file_meta.TransferSyntaxUID != got.file_meta.TransferSyntaxUID
    words = [0x7FE00010] if compressed else []  # pydicom keeps them in the order of the file
    for element in dataset:
        if element.tag not in words and element.tag.element:
            assert got[element.tag] == element, element.tag
    assert {element.tag for element in got} == {element.tag for element in dataset if element.tag.element}
    if "PixelData" in dataset:
        assert np.array_equal(got.pixel_array, dataset.pixel_array)
