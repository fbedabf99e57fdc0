"""Tag paths: every way to name an element, and what each of them leads to."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom import paths
from service.dicom.dictionary import KEYWORD_TAGS, element_key
from service.dicom.paths import Step, parse_index_path, parse_tag_path
from service.errors import Invalid, NotFound

SEQUENCE = 0x00081140
TREE: dict[str, Any] = {
    "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
    "Modality": {"vr": "CS"},
    "ReferencedImageSequence": {
        "vr": "SQ",
        "Value": [
            {"ReferencedSOPInstanceUID": {"vr": "UI", "Value": ["1.2.3"]}},
            {
                "ReferencedSOPInstanceUID": {"vr": "UI", "Value": ["1.2.4"]},
                "00090012": {"vr": "LO", "Value": ["1.2/X [a]"]},
                "00091204": {"vr": "LO", "Value": ["nested"]},
            },
        ],
    },
    "00090010": {"vr": "LO", "Value": ["GEMS_IDEN_01"]},
    "00090011": {"vr": "LO", "Value": ["OTHER: ONE "]},
    "00091004": {"vr": "LO", "Value": ["first"]},
    "00091104": {"vr": "LO", "Value": ["second"]},
    "00091304": {"vr": "LO", "Value": ["nobody's"]},
    "60000010": {"vr": "US", "Value": [64]},
    "PerFrameFunctionalGroupsSequence": {"vr": "SQ", "items": 3, "spilled": True},
}


@pytest.mark.parametrize(
    "text",
    ["00081140", "0008,1140", "(0008,1140)", "ReferencedImageSequence"],
)
def test_a_tag_is_hex_with_or_without_comma_and_parentheses_or_a_keyword(text):
    assert parse_tag_path(text) == (Step(SEQUENCE),)


def test_hex_digits_may_be_lower_case():
    assert parse_tag_path("7fe00010") == parse_tag_path("(7FE0,0010)") == parse_tag_path("PixelData")


def test_a_private_element_is_named_by_creator_group_and_last_two_digits():
    assert parse_tag_path("GEMS_IDEN_01:0009xx04") == (Step(0x00090004, "GEMS_IDEN_01"),)
    assert parse_tag_path(" GEMS_IDEN_01 :0009XX0a") == (Step(0x0009000A, "GEMS_IDEN_01"),)


def test_a_private_name_is_divided_at_the_last_colon():
    assert parse_tag_path("A:0009xx01:0009xx04") == (Step(0x00090004, "A:0009xx01"),)


def test_steps_into_sequences_may_be_written_in_any_form():
    expected = (Step(SEQUENCE, None, 0), Step(0x00400008, None, 12), Step(0x00080100))
    assert parse_tag_path("ReferencedImageSequence[0].ScheduledProtocolCodeSequence[12].CodeValue") == expected
    assert parse_tag_path("00081140[0].0040,0008[12].(0008,0100)") == expected


@pytest.mark.parametrize(
    ("text", "creator"),
    [
        ("1%2E2%2FX:0009xx01", "1.2/X"),
        ("1.2/X:0009xx01", "1.2/X"),
        ("a[0].b:0009xx01", "a[0].b"),
        ("100%:0009xx01", "100%"),
        ("100%25:0009xx01", "100%"),
        ("50%FF:0009xx01", "50%FF"),
        ("日本:0009xx01", "日本"),
        ("Rows, and.more:0009xx01", "Rows, and.more"),
    ],
)
def test_a_creator_is_taken_escaped_and_also_as_it_is(text, creator):
    assert parse_tag_path(text) == (Step(0x00090001, creator),)


def test_a_literal_creator_is_found_in_the_middle_of_a_path():
    assert parse_tag_path("ReferencedImageSequence[1].1.2/X [a]:0009xx04") == (
        Step(SEQUENCE, None, 1),
        Step(0x00090004, "1.2/X [a]"),
    )
    assert parse_tag_path("S.T:0009xx04[2].(0008,1155)") == (Step(0x00090004, "S.T", 2), Step(0x00081155))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NoSuchKeyword",
        "patientname",
        "0008114",
        "000811400",
        "0008;1140",
        "(0008,1140",
        "0008,1140)",
        "(00081140)",
        "0008, 1140",
        " 00081140",
        "00081140\n",
        "GGGG0010",
        "٠٠٠٨١١٤٠",
        ":0009xx04",
        " :0009xx04",
        "GEMS:0008xx04",
        "GEMS:0009xx4",
        "GEMS:0009xx045",
        "GEMS:00091004",
        ".",
        "Modality.",
        ".Modality",
        "ReferencedImageSequence[0]..Modality",
        "ReferencedImageSequence[].Modality",
        "ReferencedImageSequence[-1].Modality",
        "ReferencedImageSequence[+1].Modality",
        "ReferencedImageSequence[1_0].Modality",
        "ReferencedImageSequence[ 1].Modality",
        "ReferencedImageSequence[٣].Modality",
        "ReferencedImageSequence[0][1].Modality",
        "ReferencedImageSequence[0]Modality",
        "ReferencedImageSequence/Modality",
        ".".join(["00081140[0]"] * 65 + ["00081155"]),
        "A" * 9000,
    ],
)
def test_what_is_no_path_is_refused(text):
    with pytest.raises(Invalid):
        parse_tag_path(text)


def test_a_step_without_an_item_number_means_the_one_item_that_has_the_element():
    assert paths.locate(TREE, parse_tag_path("ReferencedImageSequence.00090012"))[1]["Value"] == ["1.2/X [a]"]
    with pytest.raises(Invalid, match=r"counted from 0, as in ReferencedImageSequence\[0\]"):
        paths.locate(TREE, parse_tag_path("ReferencedImageSequence.ReferencedSOPInstanceUID"))
    with pytest.raises(NotFound):
        paths.locate(TREE, parse_tag_path("ReferencedImageSequence.Modality"))
    with pytest.raises(paths.BelowSpilled):
        paths.locate(TREE, parse_tag_path("PerFrameFunctionalGroupsSequence.Modality"))


@pytest.mark.parametrize(
    "text",
    [
        "ReferencedImageSequence.ReferencedSOPInstanceUID",
        "ReferencedImageSequence/ReferencedSOPInstanceUID",
        "00081140.00081155",
        "00081140/00081155",
        "(0008,1140).(0008,1155)",
        "(0008,1140)/0008,1155",
    ],
)
def test_a_search_takes_every_spelling_of_a_path(text):
    assert paths.parse_search_path(text) == (Step(SEQUENCE), Step(0x00081155))


def test_a_search_divides_by_slashes_where_that_gives_a_path_and_else_they_are_of_a_creator():
    assert paths.parse_search_path("ReferencedImageSequence[1]/ACME:0009xx01") == (
        Step(SEQUENCE, None, 1),
        Step(0x00090001, "ACME"),
    )
    assert paths.parse_search_path("1.2/X:0009xx01") == (Step(0x00090001, "1.2/X"),)


@pytest.mark.parametrize(
    ("text", "divided"),
    [
        ("PatientName,ImageType", ["PatientName", "ImageType"]),
        ("0008,0060,0010,0010", ["0008,0060", "0010,0010"]),
        ("(0008,1140)[0].(0008,1155), Rows", ["(0008,1140)[0].(0008,1155)", "Rows"]),
        ("00081140,00081155,,FADE,Rows", ["00081140", "00081155", "FADE", "Rows"]),
        ("A (b,c):0009xx01,Rows", ["A (b,c):0009xx01", "Rows"]),
        ("(0008,Rows", ["(0008", "Rows"]),
        (" , ", []),
    ],
)
def test_a_list_of_paths_is_divided_at_commas_that_are_not_of_a_tag(text, divided):
    assert paths.split_paths(text) == divided


@pytest.mark.parametrize("piece", ["(", "(a", "0008,", "a(,", ",", "(0008,0060)", "F", "0"])
def test_dividing_a_list_takes_a_time_that_grows_with_its_length(piece):
    began = time.thread_time()
    paths.split_paths(piece * 50_000)
    assert time.thread_time() - began < 1


def test_the_last_step_has_no_item_number_because_an_item_is_no_element():
    with pytest.raises(Invalid, match="whole element"):
        parse_tag_path("ReferencedImageSequence[0]")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("SliceThicknes", "SliceThickness"), ("SOPInstanceUI", "SOPInstanceUID"), ("Modallity", "Modality")],
)
def test_a_misspelled_keyword_is_repeated_with_the_one_that_was_meant(word, meant):
    with pytest.raises(Invalid, match=rf"^Unknown DICOM keyword: `{word}`\. Did you mean `{meant}`\?$"):
        parse_index_path(f"ReferencedImageSequence.{word}")


def test_a_word_like_a_keyword_that_is_near_to_none_is_repeated():
    with pytest.raises(Invalid, match=r"^Unknown DICOM keyword: `SliceThickWords`\.$"):
        parse_index_path("SliceThickWords")


@pytest.mark.parametrize("word", ["Miller", "miller", "MILLER", "x1", "Aa" * 33])
def test_a_word_that_may_be_a_name_is_not_repeated(word):
    with pytest.raises(Invalid, match=r"^Unknown DICOM keyword\.$"):
        parse_index_path(word)


def test_a_keyword_in_the_wrong_case_is_refused_with_the_right_one():
    with pytest.raises(Invalid, match="Did you mean `PatientName`"):
        parse_tag_path("patientName")


def test_the_message_does_not_repeat_what_was_asked():
    with pytest.raises(Invalid) as caught:
        parse_tag_path("Miller^Anna")
    assert "Miller" not in caught.value.detail


@pytest.mark.parametrize("number", [str(2**31), "9" * 30, "9" * 6000])
def test_an_item_number_beyond_every_sequence_is_not_found(number):
    with pytest.raises(NotFound):
        parse_tag_path(f"ReferencedImageSequence[{number}].Modality")


def test_leading_zeros_do_not_make_an_item_number_large():
    assert parse_tag_path(f"ReferencedImageSequence[{'0' * 5000}7].Modality")[0].item == 7


def test_the_keyword_of_a_repeating_group_is_its_first_group():
    assert parse_tag_path("OverlayRows") == (Step(0x60000010),)
    assert paths.locate(TREE, parse_tag_path("OverlayRows"))[:2] == (0x60000010, {"vr": "US", "Value": [64]})


def test_a_path_of_many_private_steps_that_cannot_be_read_is_refused_at_once():
    with pytest.raises(Invalid):
        parse_tag_path("?:0009xx01[0]." * 580 + "!")


def test_an_index_path_has_no_item_numbers():
    assert parse_index_path("00081140.1.2/X:0009xx01") == (Step(SEQUENCE), Step(0x00090001, "1.2/X"))
    with pytest.raises(Invalid, match="every item"):
        parse_index_path("ReferencedImageSequence[0].ReferencedSOPInstanceUID")


def test_an_index_key_joins_with_slashes_and_holds_nothing_that_mongodb_reads_as_syntax():
    key = paths.index_key(parse_index_path("00081140.$a.b/c%\0d:0009xx0a"))
    assert key == "ReferencedImageSequence/%24a%2Eb%2Fc%25%00d:0009xx0A"
    assert paths.text_of_index_key(key) == "ReferencedImageSequence.%24a%2Eb%2Fc%25%00d:0009xx0A"


def test_letters_beyond_ascii_are_escaped_as_utf_8():
    assert paths.private_element_key("Münch", 0x00091004) == "M%C3%BCnch:0009xx04"


CREATORS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64).filter(
    lambda text: text == text.strip(" \0")
)
STEPS = st.one_of(
    st.sampled_from(sorted(KEYWORD_TAGS.values())).map(Step),
    st.integers(0, 2**32 - 1).map(Step),
    st.builds(
        lambda group, element, creator: Step((group | 1) << 16 | element, creator),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFF),
        CREATORS,
    ),
)


@given(st.lists(STEPS, min_size=1, max_size=5))
def test_index_key_http_text_and_path_lead_back_to_each_other(steps):
    path = tuple(steps)
    key = paths.index_key(path)
    text = paths.text_of_index_key(key)
    assert parse_index_path(text) == path
    assert paths.index_key(parse_index_path(text)) == key
    assert "." not in key
    assert "$" not in key
    assert "\0" not in key


@given(st.lists(st.tuples(STEPS, st.integers(0, 2**31 - 1)), max_size=5), STEPS)
def test_the_text_of_a_tag_path_is_read_back_as_the_same_path(parents, last):
    path = (*(Step(step.tag, step.creator, item) for step, item in parents), last)
    assert parse_tag_path(paths.tag_path_text(path)) == path


@given(CREATORS)
def test_an_escaped_creator_never_changes_its_meaning(creator):
    escaped = paths.escape_creator(creator)
    assert escaped.isascii()
    assert parse_tag_path(f"{escaped}:0009xx01") == (Step(0x00090001, creator),)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        path = parse_tag_path(text)
    except (Invalid, NotFound):
        return
    assert parse_tag_path(paths.tag_path_text(path)) == path


def test_an_element_is_found_by_tag_and_inside_its_item():
    assert paths.locate(TREE, parse_tag_path("0010,0010"))[:2] == (0x00100010, TREE["PatientName"])
    tag, element = paths.locate(TREE, parse_tag_path("ReferencedImageSequence[1].ReferencedSOPInstanceUID"))[:2]
    assert (tag, element["Value"]) == (0x00081155, ["1.2.4"])


def test_private_creators_are_resolved_on_each_level_anew():
    assert paths.locate(TREE, parse_tag_path("GEMS_IDEN_01:0009xx04")) == (
        0x00091004,
        {"vr": "LO", "Value": ["first"]},
        "GEMS_IDEN_01",
    )
    assert paths.locate(TREE, parse_tag_path("OTHER: ONE:0009xx04"))[0] == 0x00091104
    tag, element = paths.locate(TREE, parse_tag_path("00081140[1].1%2E2%2FX %5Ba%5D:0009xx04"))[:2]
    assert (tag, element["Value"]) == (0x00091204, ["nested"])
    with pytest.raises(NotFound):
        paths.locate(TREE, parse_tag_path("00081140[1].GEMS_IDEN_01:0009xx04"))


def test_a_private_element_is_also_found_by_plain_hex_and_still_tells_its_creator():
    assert paths.locate(TREE, parse_tag_path("00091104")).creator == "OTHER: ONE"
    assert paths.locate(TREE, parse_tag_path("00091304")).creator is None


def test_a_creator_with_two_blocks_is_found_in_the_one_that_holds_the_element():
    tree = {
        "00090010": {"vr": "LO", "Value": ["TWICE"]},
        "00090020": {"vr": "LO", "Value": ["TWICE"]},
        "00092001": {"vr": "LO", "Value": ["here"]},
    }
    assert paths.locate(tree, parse_tag_path("TWICE:0009xx01"))[0] == 0x00092001


def test_a_creator_that_came_as_un_counts_when_it_is_ascii():
    tree = {"00090010": {"vr": "UN", "InlineBinary": b"ACME "}, "00091001": {"vr": "UN"}}
    assert paths.locate(tree, parse_tag_path("ACME:0009xx01"))[0] == 0x00091001


@pytest.mark.parametrize(
    "text",
    [
        "PatientID",
        "ReferencedImageSequence[2].ReferencedSOPInstanceUID",
        "ReferencedImageSequence[0].Modality",
        "PatientName[0].Modality",
        "Modality[0].Modality",
        "NOBODY:0009xx04",
        "GEMS_IDEN_01:0009xx05",
        "PerFrameFunctionalGroupsSequence[3].Modality",
    ],
)
def test_what_the_file_does_not_have_is_not_found(text):
    with pytest.raises(NotFound):
        paths.locate(TREE, parse_tag_path(text))


def test_a_negative_item_number_does_not_count_from_the_end():
    with pytest.raises(NotFound):
        paths.locate(TREE, (Step(SEQUENCE, None, -1), Step(0x00081155)))


def test_a_path_below_a_spilled_sequence_says_so():
    with pytest.raises(paths.BelowSpilled):
        paths.locate(TREE, parse_tag_path("PerFrameFunctionalGroupsSequence[2].Modality"))


def test_a_projection_needs_one_key_for_a_public_tag():
    assert paths.lookup_keys(Step(0x00100010)) == ["PatientName"]
    assert paths.lookup_keys(Step(0x00091004)) == ["00091004", "00090010"]
    assert paths.lookup_keys(Step(0x00090010)) == ["00090010"]


def test_a_projection_for_a_private_name_has_every_creator_and_every_block():
    keys = paths.lookup_keys(Step(0x00090004, "GEMS_IDEN_01"))
    assert keys[:2] == ["00090010", "00090011"]
    assert keys[239:242] == ["000900FF", "00091004", "00091104"]
    assert keys[-1] == "0009FF04"
    assert len(keys) == len(set(keys)) == 480


@pytest.mark.parametrize(
    "text", ["PatientName", "00091104", "GEMS_IDEN_01:0009xx04", "OTHER: ONE:0009xx04", "60000010", "Modality"]
)
def test_what_a_projection_fetches_is_enough_to_resolve_the_step(text):
    path = parse_tag_path(text)
    projected = {key: TREE[key] for key in paths.lookup_keys(path[0]) if key in TREE}
    assert paths.locate(projected, path) == paths.locate(TREE, path)


def test_the_creators_alone_say_where_a_private_sequence_can_stand():
    step = Step(0x00090004, "OTHER: ONE", 0)
    creators = {key: TREE[key] for key in paths.creator_keys(step) if key in TREE}
    assert paths.candidate_keys(creators, step) == ["00091104"]
    assert paths.candidate_keys({}, step) == []


@given(st.integers(0, 2**32 - 1))
def test_every_tag_has_one_key_and_every_key_one_tag(tag):
    assert paths.tag_of_key(element_key(tag)) == tag
