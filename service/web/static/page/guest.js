// Whoever comes by a link: its secret, the passcode, and the session that they open.

import { ask, Refusal } from "./api.js";
import { readAddress } from "./address.js";
import { find } from "./dom.js";
import { forget, keep, kept } from "./session.js";
import { text } from "./text.js";

/** @typedef {import("./session.js").Session} Session */

export class Guest {
  /** What stood in the link. It stays in memory: after a reload the session is there still, and the link is not. */
  #secret = "";
  #needsPasscode = false;
  #timer = 0;
  #isOpen = false;
  #door = find("door", HTMLElement);
  #field = find("door-passcode", HTMLInputElement);

  /**
   * @param {(session: Session) => Promise<unknown>} onOpen  shows what the session opens
   * @param {() => void} onEnd  puts it away
   * @param {(error: unknown) => void} tellError
   */
  constructor(onOpen, onEnd, tellError) {
    this.onOpen = onOpen;
    this.onEnd = onEnd;
    find("door-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#open(this.#field.value).catch(tellError);
    });
    find("door-again", HTMLButtonElement).addEventListener("click", () => this.#open().catch(tellError));
  }

  /** Opens the link that stands in the address, or goes on with the session that the tab keeps. */
  async enter() {
    const session = kept();
    const written = location.hash.slice(1);
    if (session && (!written || readAddress(location.hash).patient === session.patient)) {
      await this.#begin(session);
      return;
    }
    history.replaceState(null, "", location.pathname);
    if (this.#isOpen) this.end();
    this.#secret = written;
    this.#needsPasscode = false;
    if (written) await this.#open();
    else this.#say(text.guest.noLink);
  }

  /** Ends the session, and says how to go on. */
  end() {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearTimeout(this.#timer);
    forget();
    this.onEnd();
    this.#say(this.#secret ? text.guest.ended : text.guest.endedWithoutLink, this.#secret && !this.#needsPasscode ? "again" : "");
    if (this.#needsPasscode) this.#askPasscode();
  }

  /** @param {string} [passcode] */
  async #open(passcode) {
    if (passcode === undefined) this.#say(text.guest.opening);
    const body = { secret: this.#secret, ...(passcode === undefined ? {} : { passcode }) };
    let opened;
    try {
      opened = await (await ask("/shares/session", { method: "POST", body })).json();
    } catch (error) {
      this.#refuse(error);
      return;
    }
    const { access_token: token, patient_id: patient, expires_in: seconds, download, inbox = null } = opened;
    await this.#begin({ token, patient, ends: Date.now() + seconds * 1000, download, inbox });
  }

  /** @param {Session} session */
  async #begin(session) {
    clearTimeout(this.#timer);
    keep(session);
    this.#isOpen = true;
    if (session.ends <= Date.now()) {
      this.end();
      return;
    }
    this.#timer = window.setTimeout(() => this.end(), session.ends - Date.now());
    this.#door.hidden = true;
    this.#field.value = "";
    await this.onOpen(session);
  }

  /** @param {unknown} error */
  #refuse(error) {
    if (!(error instanceof Refusal)) {
      this.#say([text.guest.notOpened, text.notReached], "again");
    } else if (error.code === "passcode-required") {
      this.#needsPasscode = true;
      this.#say(text.guest.asksPasscode);
      this.#askPasscode();
    } else if (error.code === "wrong-passcode") {
      this.#askPasscode(text.guest.wrongPasscode);
    } else if (error.status === 404 || error.status === 422) {
      this.#secret = "";
      this.#needsPasscode = false;
      this.#say(text.guest.opensNothing);
    } else {
      this.#say([text.guest.notOpened, error.message], "again");
    }
  }

  /**
   * @param {readonly string[]} said  a title, and a sentence
   * @param {string} [next]  "again" offers to open the link once more
   */
  #say([title, sentence = ""], next = "") {
    this.#door.hidden = false;
    find("door-title", HTMLElement).textContent = title;
    find("door-sentence", HTMLElement).textContent = sentence;
    find("door-form", HTMLElement).hidden = true;
    find("door-again", HTMLButtonElement).hidden = next !== "again";
  }

  /** @param {string} [wrong]  why the one before did not do */
  #askPasscode(wrong = "") {
    find("door-form", HTMLElement).hidden = false;
    find("door-error", HTMLElement).textContent = wrong;
    this.#field.setAttribute("aria-invalid", String(Boolean(wrong)));
    this.#field.focus();
    this.#field.select();
  }
}
