"""Links: made by a patient, opened by somebody else in a browser of their own, and ended."""

import json
import time

import jwt
import pytest

from tests.page import looking
from tests.page.made import ROOT_UID, ct_slices, placed, read, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-sharing"
STUDY, SERIES = f"{ROOT_UID}.17", f"{ROOT_UID}.17.1700"
COUNT = 8
PASSCODE = "blue-whale"


@pytest.fixture(scope="module")
def stored(service):
    for _, content in ct_slices(COUNT, 1700):
        service.upload(content, PATIENT)
    service.upload(written(placed(read("MR_small.dcm"), 1701, 1)), PATIENT)
    return service


def shares_of(service, patient=PATIENT):
    _, _, body = service.request("GET", f"/patient/{patient}/shares", patient=patient)
    return json.loads(body)["shares"]


def make(service, **wanted):
    """Make a share by the API, and give it with its link."""
    wanted = {"series": [SERIES], "expires_in": 600, **wanted}
    status, _, body = service.request(
        "POST", f"/patient/{PATIENT}/shares", json.dumps(wanted).encode(), PATIENT, content_type="application/json"
    )
    assert status == 201, body
    return json.loads(body)


def token_of(service, scope, **claims):
    """A token as an issuer would give it."""
    secret = (service.data_dir / "dev-secret").read_text().strip()
    content = {"patient_id": PATIENT, "exp": int(time.time()) + 600, "scope": scope, **claims}
    return jwt.encode(content, secret, algorithm="HS256")


async def see_series(tab, service):
    await looking.open_at(tab, service, f"#{PATIENT}/{STUDY}/{SERIES}")
    await looking.see(tab)
    await tab.wait_for(f"document.querySelector('#slice').max === '{COUNT}'")


async def share(tab, level):
    """Open the dialog for what is shown."""
    await tab.click("#share-menu summary")
    await tab.click(f"[data-shares={level}]")
    await tab.wait_for("document.querySelector('#share').open")


async def test_a_series_is_shared_with_a_passcode_opened_elsewhere_and_revoked(stored, tab, other_browser, shoot):
    await see_series(tab, stored)
    await share(tab, "series")
    meaning = "document.querySelector('#share-meaning').innerText"
    assert "the series “Thorax thin and thick”" in await tab.evaluate(meaning)
    assert "They cannot download the files." in await tab.evaluate(meaning)
    await tab.click("#share-has-passcode")
    await looking.fill(tab, "#share-passcode", PASSCODE)
    await looking.fill(tab, "#share-label", "for Dr Example")
    assert "They need the passcode." in await tab.evaluate(meaning)
    await looking.check_everywhere(tab, shoot, "share", "#share")
    await tab.click("#share-make")
    await tab.wait_for("document.querySelector('#share-qr').naturalWidth > 100")
    link = await tab.evaluate("document.querySelector('#share-link').value")
    assert link.startswith(f"{stored.url}/s#")
    # One that was made up is known to nobody else.
    assert await looking.text_of(tab, "#share-told") == f"Passcode: {PASSCODE}"
    await looking.check_everywhere(tab, shoot, "share-made", "#share")
    await tab.click("#share-done")
    # They are shown this once.
    assert await tab.evaluate("document.querySelector('#share-link').value") == ""
    assert PASSCODE not in await tab.evaluate("document.documentElement.outerHTML")
    assert link.split("#")[1] not in await tab.evaluate("document.documentElement.outerHTML")

    async with looking.guest_at(other_browser, link) as guest:
        await guest.wait_for("document.querySelector('#door-form').checkVisibility()")
        assert await guest.evaluate("location.href") == f"{stored.url}/s"
        await looking.check_everywhere(guest, shoot, "guest-passcode")
        await guest.write("green-whale")
        await guest.press("Enter")
        await guest.wait_for("document.querySelector('#door-error').innerText.includes('not the passcode')")
        await guest.write(PASSCODE)
        await guest.press("Enter")
        await looking.see(guest)
        await guest.wait_for(f"document.querySelector('#slice').max === '{COUNT}'")
        await guest.wait_for("document.querySelector('#tree .tag')")
        await guest.wait_for("document.querySelectorAll('.series').length === 1")
        await looking.check(guest)
        await looking.check_everywhere(guest, shoot, "guest", "header")
        for hidden in ("#sign-in", "#upload-menu", "#shares-button", "#share-menu", "#more-menu", "#copy-curl"):
            assert not await looking.is_visible(guest, hidden), hidden
        assert "but not download them" in await looking.text_of(guest, "#guest-bar")
        await guest.press("End")
        await looking.see(guest, f"{SERIES}.1")
        await guest.wait_for(f"location.hash.endsWith('/{SERIES}.1/1')")

        assert [each["opens"] for each in shares_of(stored)] == [1]
        await looking.reload(guest)
        await looking.see(guest, f"{SERIES}.1")
        assert [each["opens"] for each in shares_of(stored)] == [1]

        await tab.click("#shares-button")
        await tab.wait_for("document.querySelector('.share')")
        said = await looking.text_of(tab, ".share")
        assert "for Dr Example" in said
        assert "Opened once" in said
        assert "1 wrong passcode" in said
        await looking.check_everywhere(tab, shoot, "shares", "#shares")
        await tab.click(".share .danger")
        await tab.wait_for("document.querySelector('#sure').open")
        await shoot(tab, "shares-revoke")
        await tab.click("#sure-no")
        await tab.wait_for("!document.querySelector('#sure').open")
        assert [each["state"] for each in shares_of(stored)] == ["open"]
        await tab.click(".share .danger")
        await tab.click("#sure-yes")
        await tab.wait_for("document.querySelector('.share.revoked')")

        await guest.press("t")
        await guest.evaluate("document.querySelector('#stage').focus()")
        await guest.evaluate(f"location.hash = {json.dumps(f'#{PATIENT}?Modality=CT')}")
        await guest.wait_for("document.querySelector('#door').checkVisibility()")
        assert "visit has ended" in await looking.text_of(guest, "#door")
        assert not await looking.is_visible(guest, "#workplace")
        assert await guest.evaluate("sessionStorage.length") == 0
        await shoot(guest, "guest-ended")
        await guest.open("about:blank")
        await guest.open(link)
        await guest.wait_for("document.querySelector('#door').innerText.includes('does not work')")
        await looking.check_everywhere(guest, shoot, "guest-refused")


@pytest.mark.parametrize("passcode", [PASSCODE, None])
async def test_a_visit_that_ends_goes_on_by_the_same_link(stored, other_browser, passcode):
    made = make(stored, **({"passcode": passcode} if passcode else {}))
    async with looking.guest_at(other_browser, made["link"]) as guest:
        if passcode:
            await guest.wait_for("document.querySelector('#door-form').checkVisibility()")
            await guest.write(passcode)
            await guest.press("Enter")
        await looking.see(guest)
        # Its token is another now, as if the hour were over.
        await guest.evaluate(
            "(() => { const own = fetch; window.fetch = (path, asked) => own(path, { ...asked, headers:"
            "{ ...asked.headers, ...(asked.headers['access-token'] && !window.goesOn"
            " ? { 'access-token': asked.headers['access-token'].slice(0, -4) + 'AAAA' } : {}) } }); })()"
        )
        await guest.evaluate(f"location.hash = {json.dumps(f'#{PATIENT}?Modality=CT')}")
        await guest.wait_for("document.querySelector('#door').innerText.includes('visit has ended')")
        assert not await looking.is_visible(guest, "#workplace")
        assert await guest.evaluate("sessionStorage.length") == 0
        await guest.evaluate("window.goesOn = true")
        if passcode:
            await guest.write(passcode)
            await guest.press("Enter")
        else:
            await guest.click("#door-again")
        await looking.see(guest)


async def test_an_image_with_downloads_once_and_what_the_list_says_of_it(stored, tab, other_browser):
    await see_series(tab, stored)
    await share(tab, "image")
    await tab.click("#share-download")
    await looking.fill(tab, "#share-opens", "1")
    assert "one image of the series" in await looking.text_of(tab, "#share-meaning")
    assert "The link can be opened once." in await looking.text_of(tab, "#share-meaning")
    shown = await tab.evaluate("document.querySelector('#canvas').dataset.shown")
    await tab.click("#share-make")
    link = await tab.wait_for("document.querySelector('#share-link').value")
    async with looking.guest_at(other_browser, link) as guest:
        await looking.see(guest, shown.split("/")[0])
        await guest.wait_for("document.querySelector('.series').textContent.includes('1 image')")
        await guest.click("#more-menu summary")
        assert await looking.is_visible(guest, "[data-does=download][data-level=image]")
        assert not await looking.is_visible(guest, "[data-does=delete]")
        await looking.catch_downloads(guest)
        await guest.click("[data-does=download][data-level=image]")
        _, content = await looking.downloaded(guest)
        assert content[128:132] == b"DICM"
    async with looking.guest_at(other_browser, link) as guest:
        await guest.wait_for("document.querySelector('#door').innerText.includes('does not work')")


async def test_a_date_is_that_day_to_its_end_and_the_service_says_what_is_too_long(stored, tab):
    await see_series(tab, stored)
    await share(tab, "study")
    await tab.evaluate(
        "(() => { const field = document.querySelector('#share-date'); field.value = '2199-01-01';"
        "field.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    assert "2199" in await looking.text_of(tab, "#share-meaning")
    before = len(shares_of(stored))
    await tab.click("#share-make")
    await tab.wait_for("document.querySelector('#share-error').innerText.length > 10")
    assert len(shares_of(stored)) == before


async def test_a_link_without_its_secret_and_one_that_never_was_say_so(stored, other_browser):
    async with looking.guest_at(other_browser, f"{stored.url}/s") as guest:
        await guest.wait_for("document.querySelector('#door').innerText.includes('Open the link that you were sent')")
        await guest.evaluate(f"location.hash = '#{'x' * 43}'")
        await guest.wait_for("document.querySelector('#door').innerText.includes('does not work')")
        assert await guest.evaluate("location.href") == f"{stored.url}/s"


async def test_a_token_that_may_not_share_is_told_so_without_the_name_of_a_scope_alone(stored, tab):
    await tab.open(stored.url)
    await tab.wait_for("document.activeElement.id === 'patient'")
    await tab.evaluate(f"document.querySelector('#token').value = '{token_of(stored, 'dicom:read')}'")
    await tab.write(PATIENT)
    await tab.press("Enter")
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    await tab.click("#shares-button")
    await tab.wait_for("document.querySelector('#shares-error').innerText.includes('does not allow sharing')")
    tab.complaints.clear()  # the refusal is what was asked for


async def test_the_list_says_with_whose_token_a_share_was_made(stored, tab):
    body = json.dumps({"series": [SERIES], "expires_in": 600, "label": "made by her"}).encode()
    status, _, _ = stored.request(
        "POST", f"/patient/{PATIENT}/shares", body, content_type="application/json",
        access_token=token_of(stored, "dicom:share", sub="dr-lang"),
    )  # fmt: skip
    assert status == 201
    await see_series(tab, stored)
    await tab.click("#shares-button")
    await tab.wait_for("document.querySelector('#shares-list').innerText.includes('made by her')")
    assert "by dr-lang" in await looking.text_of(tab, ".share")
