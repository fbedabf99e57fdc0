"""Accept and content-type: which representation a caller gets."""

import pytest

from service.errors import BadParameter, Invalid, NotAcceptable
from service.web.negotiation import DICOM, DICOM_JSON, JSON, PNG, Offer, choose, choose_representation, parse_accept

FIREFOX_IMG = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
CHROME_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "content_type", "expected"),
    [
        (None, None, DICOM),
        ("", "", DICOM),
        ("*/*", None, DICOM),
        (None, "image/png", PNG),
        ("*/*", "image/png", PNG),
        ("*/*", "Image/PNG; charset=x", PNG),
        ("*/*;q=0.1", "application/dicom", DICOM),
        ("image/png", None, PNG),
        ("image/png", "application/dicom", PNG),
        ("image/png", "text/nonsense", PNG),
        ("application/dicom", "image/png", DICOM),
        ("application/json", "image/png", JSON),
        ("image/*", None, PNG),
        ("application/*", None, DICOM),
        ("application/json;q=0.5, image/png;q=0.9, */*;q=0.1", None, PNG),
        ("image/png;q=0.2, application/json;q=0.3", None, JSON),
        ("image/png;q=0, */*", None, DICOM),
        ("text/html, */*;q=0.1", "image/png", PNG),
        (FIREFOX_IMG, None, PNG),
        (CHROME_PAGE, None, DICOM),
        ("APPLICATION/DICOM; transfer-syntax=*", None, DICOM),
        ('application/dicom;x="a,b;q=0"', None, DICOM),
        ("nonsense, ;;, */png", None, DICOM),
    ],
)
def test_the_representation_of_an_instance(accept, content_type, expected):
    assert choose_representation(accept, content_type) == expected


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg", "image/png;q=0", "*/*;q=0", "image/gif, text/*"])
def test_nothing_acceptable_is_told_with_what_there_is(accept):
    with pytest.raises(NotAcceptable, match="image/png"):
        choose_representation(accept, None)


def test_a_content_type_that_the_accept_rules_out_is_not_given():
    with pytest.raises(NotAcceptable):
        choose_representation("*/*, image/png;q=0", "image/png")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "image/jpeg", "png", "image/*"])
def test_another_content_type_cannot_be_worked_with(content_type):
    with pytest.raises(Invalid):
        choose_representation("*/*", content_type)


def test_a_closer_range_outranks_a_wider_one_whatever_their_order():
    offers = (Offer(JSON), Offer(DICOM_JSON))
    assert choose("application/*;q=0.9, application/json;q=0.1", offers) == Offer(DICOM_JSON)
    assert choose("application/json;q=0.1, application/*;q=0.9", offers) == Offer(DICOM_JSON)
    assert choose("*/*", offers) == Offer(JSON)


def test_what_is_named_is_preferred_to_what_anything_lets_in_and_what_is_named_first_to_the_rest():
    offers = (Offer(JSON), Offer(DICOM_JSON))
    assert choose("*/*, application/dicom+json", offers) == Offer(DICOM_JSON)
    assert choose("application/dicom+json, application/json", offers) == Offer(DICOM_JSON)
    assert choose("application/dicom+json;q=0.5, application/json;q=0.5, */*;q=0.4", offers) == Offer(DICOM_JSON)


def test_a_multipart_answer_is_asked_for_as_one_and_by_the_type_of_its_parts():
    one, parts = Offer(DICOM), Offer(DICOM, multipart=True)
    assert choose("application/dicom", (parts, one)) == one
    assert choose('multipart/related; type="application/dicom"', (one, parts)) == parts
    assert choose("multipart/related; type=application/dicom; q=0.1, application/dicom; q=0.2", (parts, one)) == one
    with pytest.raises(NotAcceptable, match="application/dicom"):
        choose("multipart/related; type=image/png", (one, parts))


def test_a_list_of_more_than_a_hundred_types_is_refused():
    assert len(parse_accept("image/png, " * 100)) == 100
    with pytest.raises(BadParameter, match="100"):
        parse_accept("image/png," * 101)


@pytest.mark.parametrize("quality", ["q=2", "q=-1", "q=abc", "q=0.1234", "q=1.1", "q=\u0661"])
def test_an_element_with_a_quality_that_is_none_is_passed_over(quality):
    assert parse_accept(f"image/png;{quality}") == []


def test_parameters_are_read_with_their_quotes_undone():
    (only,) = parse_accept(r'multipart/related; Type="application/dicom"; x="a\"b"')
    assert only.parameters == {"type": "application/dicom", "x": 'a"b'}
