"""Pages of a sorted search: every hit once, however values tie, repeat or lack, and the same order each time."""

import pytest

from service.dicom.index import index_entries
from service.storage.search import InstanceQuery
from service.storage.visible import Visible
from tests.storage.samples import extraction, make_bytes, make_instance

VALUES = [[1.0], [1.0], [2.0], [0.5, 3.0], [3.0, 0.5], [], None, None, [1.0, 2.0], [2.0], [-1.0], [1.0], None]


@pytest.fixture
async def thicknesses(store, clock):
    """Thirteen instances that came at two moments; id to values."""
    moments = clock(), clock()
    stored = {}
    for seed, values in enumerate(VALUES):
        made = make_instance(store, clock, make_bytes(9, seed), received_at=moments[seed % 2])
        tree = extraction()
        del tree.dataset["SliceThickness"]
        if values is not None:
            tree.dataset["SliceThickness"] = {"vr": "DS", "Value": values}
        tree.index = index_entries(tree.dataset)
        await store.uploads.store(made, tree, make_bytes(9, seed))
        stored[made["_id"]] = values
    return stored


async def pages(store, size, **options):
    """The ids of all pages, one after another."""
    found, offset = [], 0
    while offset is not None:
        wanted = {"tags.Modality": "CT"}
        query = InstanceQuery(Visible("p-1"), wanted, limit=size, offset=offset, **options)
        hits = await store.index.find_page(query)
        assert len(hits.instances) == size or hits.next_offset is None
        found += [hit["_id"] for hit in hits.instances]
        offset = hits.next_offset
    return found


@pytest.mark.parametrize("check", [None, lambda _: True])
async def test_every_hit_is_on_one_page(store, thicknesses, check):
    for order in (None, "tags.SliceThickness", "tags.PatientName"):
        for descending in (False, True):
            options = {"order": order, "descending": descending, "check": check}
            whole = await pages(store, 100, **options)
            assert sorted(whole) == sorted(thicknesses)
            for size in (1, 3, 5):
                assert await pages(store, size, **options) == whole


async def test_the_least_value_decides_upwards_and_the_greatest_downwards(store, thicknesses, backend_uri):
    if backend_uri is None:
        pytest.skip("the double compares lists value by value")
    ordered = await pages(store, 5, order="tags.SliceThickness")
    keys = [min(values) for values in (thicknesses[each] for each in ordered) if values]
    assert keys == sorted(keys)
    assert all(not thicknesses[each] for each in ordered[:4])  # what has no value comes first
    ordered = await pages(store, 5, order="tags.SliceThickness", descending=True)
    keys = [max(values) for values in (thicknesses[each] for each in ordered) if values]
    assert keys == sorted(keys, reverse=True)
    assert all(not thicknesses[each] for each in ordered[-4:])
