// Making a link: one that shows a study, a series or an image, and one by which others put files in.

import { Refusal } from "./api.js";
import { copy, find } from "./dom.js";
import { text } from "./text.js";

/** @typedef {import("./api.js").Service} Service */
/** @typedef {{level: "study" | "series" | "image" | "file", name: string, id: string}} Subject  what is shared; its UID or dicom_id */

const DAY = 86_400;
const SIZES = [100 << 20, 2 ** 30, 5 * 2 ** 30, 20 * 2 ** 30];
const USUAL_SIZE = SIZES[2];
/** Without letters and digits that look like others. */
const LETTERS = "abcdefghjkmnpqrstuvwxyz23456789";
const LETTERS_OF_PASSCODE = 8;
const LISTS = /** @type {const} */ ({ study: "studies", series: "series", image: "instances", file: "instances" });

export class Sharing {
  /** @type {Service | null} */
  #service = null;
  /** @type {Subject | null} null: files are asked for */
  #subject = null;
  #picture = "";
  #dialog = find("share", HTMLDialogElement);
  #form = find("share-form", HTMLFormElement);
  #date = find("share-date", HTMLInputElement);
  #passcode = find("share-passcode", HTMLInputElement);
  #hasPasscode = find("share-has-passcode", HTMLInputElement);
  #opens = find("share-opens", HTMLInputElement);
  #files = find("share-files", HTMLInputElement);
  #size = find("share-size", HTMLSelectElement);
  #link = find("share-link", HTMLInputElement);

  /** @param {() => unknown} onMade */
  constructor(onMade) {
    this.onMade = onMade;
    for (const size of SIZES) this.#size.append(new Option(text.bytes(size), String(size)));
    this.#form.addEventListener("input", ({ target }) => {
      if (target === this.#date) this.#ends("date").checked = true;
      this.#show();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#make();
    });
    find("share-invent", HTMLButtonElement).addEventListener("click", () => {
      this.#passcode.value = inventPasscode();
      this.#show();
    });
    find("share-cancel", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    find("share-done", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    const button = find("share-copy", HTMLButtonElement);
    button.addEventListener("click", () => copy(button, this.#link.value, text.copied));
    this.#dialog.addEventListener("close", () => this.#clear());
  }

  /**
   * Asks how something is to be shared.
   * @param {Service} service
   * @param {Subject | null} subject  null: files are asked for
   */
  open(service, subject) {
    this.#service = service;
    this.#subject = subject;
    this.#clear();
    this.#form.hidden = false;
    find("share-made", HTMLElement).hidden = true;
    this.#dialog.classList.toggle("for-inbox", subject === null);
    for (const element of this.#dialog.querySelectorAll("[data-for]")) {
      /** @type {HTMLElement} */ (element).hidden = (element.getAttribute("data-for") === "inbox") !== (subject === null);
    }
    find("share-title", HTMLElement).textContent = subject ? text.sharing.titles[subject.level] : text.sharing.askTitle;
    this.#size.value = String(USUAL_SIZE);
    this.#date.min = dayOf(0);
    this.#date.value = dayOf(14);
    this.#show();
    this.#dialog.showModal();
    this.#ends("7").focus();
  }

  /** Says what the link will open, as it is chosen now. */
  #show() {
    find("share-passcode-row", HTMLElement).hidden = !this.#hasPasscode.checked;
    this.#passcode.required = this.#hasPasscode.checked;
    this.#date.required = this.#ends("date").checked;
    const ends = new Date(Date.now() + this.#seconds() * 1000);
    const until = Number.isNaN(ends.getTime()) ? "…" : text.moment(ends.toISOString());
    const passcode = this.#hasPasscode.checked;
    find("share-meaning", HTMLElement).textContent = this.#subject
      ? text.sharing.meaning({
        ...this.#subject, until, passcode, download: find("share-download", HTMLInputElement).checked, opens: Number(this.#opens.value),
      })
      : text.sharing.inboxMeaning({ until, passcode, files: Number(this.#files.value), size: Number(this.#size.value) });
  }

  /** @param {string} value */
  #ends(value) {
    return /** @type {HTMLInputElement} */ (this.#form.querySelector(`[name=ends][value="${value}"]`));
  }

  /** Returns for how many seconds the link is to open; a date is that day to its end. */
  #seconds() {
    const days = new FormData(this.#form).get("ends");
    if (days !== "date") return Number(days) * DAY;
    return Math.floor((new Date(`${this.#date.value}T23:59:59`).getTime() - Date.now()) / 1000);
  }

  /** Returns what the service is asked to make. */
  #wanted() {
    const label = find("share-label", HTMLInputElement).value.trim();
    /** @type {Record<string, unknown>} */
    const wanted = { expires_in: this.#seconds() };
    if (this.#hasPasscode.checked) wanted.passcode = this.#passcode.value;
    if (this.#opens.value) wanted.max_opens = Number(this.#opens.value);
    if (label) wanted.label = label;
    if (this.#subject) {
      wanted[LISTS[this.#subject.level]] = [this.#subject.id];
      wanted.download = find("share-download", HTMLInputElement).checked;
    } else {
      Object.assign(wanted, { upload: true, max_files: Number(this.#files.value), max_bytes: Number(this.#size.value) });
    }
    return wanted;
  }

  async #make() {
    const service = this.#service;
    const button = find("share-make", HTMLButtonElement);
    const error = find("share-error", HTMLElement);
    if (!service) return;
    button.disabled = true;
    error.textContent = "";
    try {
      const answer = await service.ask(`${service.root}/shares`, { method: "POST", body: this.#wanted() });
      this.#showLink(await answer.json());
      this.onMade();
    } catch (refusal) {
      error.textContent = sentenceOf(refusal);
    }
    button.disabled = false;
  }

  /** @param {{link: string, qr: string, expires_at: string}} made */
  #showLink({ link, qr, expires_at: until }) {
    this.#form.hidden = true;
    find("share-made", HTMLElement).hidden = false;
    find("share-title", HTMLElement).textContent = text.sharing.made;
    find("share-next", HTMLElement).textContent = text.sharing.next(text.moment(until), this.#hasPasscode.checked);
    // As a picture an SVG runs nothing, and names nothing of elsewhere.
    this.#picture = URL.createObjectURL(new Blob([qr], { type: "image/svg+xml" }));
    find("share-qr", HTMLImageElement).src = this.#picture;
    find("share-told", HTMLElement).hidden = !this.#hasPasscode.checked;
    find("share-told-passcode", HTMLElement).textContent = this.#hasPasscode.checked ? this.#passcode.value : "";
    this.#link.value = link;
    this.#link.focus();
    this.#link.select();
    this.#link.scrollLeft = 0;
  }

  /** Lets go of the link and the passcode, which are shown this once. */
  #clear() {
    this.#form.reset();
    this.#link.value = "";
    find("share-told-passcode", HTMLElement).textContent = "";
    find("share-error", HTMLElement).textContent = "";
    find("share-qr", HTMLImageElement).removeAttribute("src");
    if (this.#picture) URL.revokeObjectURL(this.#picture);
    this.#picture = "";
  }
}

/**
 * Returns the day some days from now, as a field for dates has it.
 * @param {number} days
 */
function dayOf(days) {
  const day = new Date();
  day.setDate(day.getDate() + days);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}

/** Returns a passcode that can be told by telephone. */
function inventPasscode() {
  let made = "";
  while (made.length < LETTERS_OF_PASSCODE) {
    const [byte] = crypto.getRandomValues(new Uint8Array(1));
    if (byte < Math.floor(256 / LETTERS.length) * LETTERS.length) made += LETTERS[byte % LETTERS.length];
  }
  return made;
}

/**
 * Returns what to say of something that failed here: most patients do not know what a scope is.
 * @param {unknown} refusal
 */
export function sentenceOf(refusal) {
  if (refusal instanceof Refusal && refusal.status === 403) return text.sharing.notAllowed;
  return /** @type {Error} */ (refusal).message || text.notReached;
}
