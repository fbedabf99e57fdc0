// The links that a patient has given away: what each shows, who came by it, how to end it, and what came by an inbox.

import { isSure } from "./actions.js";
import { writeAddress } from "./address.js";
import { nextOf } from "./api.js";
import { find, make, makeButton } from "./dom.js";
import { personName } from "./dicomjson.js";
import { sentenceOf } from "./sharing.js";
import { text } from "./text.js";

/** @typedef {import("./api.js").Service} Service */

/**
 * @typedef {object} Share  as the service lists it
 * @property {string} share_id
 * @property {"open" | "used-up" | "expired" | "revoked" | "closed"} state
 * @property {string[] | null} studies
 * @property {string[] | null} series
 * @property {number | null} instances
 * @property {boolean} download
 * @property {{max_files: number, max_bytes: number, files: number, bytes: number} | null} [inbox]
 * @property {boolean} has_passcode
 * @property {string | null} label
 * @property {string} made_at
 * @property {{subject: string | null}} made_by
 * @property {string} expires_at
 * @property {string | null} ended_at
 * @property {number | null} max_opens
 * @property {number} opens
 * @property {string | null} opened_at
 * @property {number} wrong_passcodes
 */

/**
 * @typedef {object} Waiting  a file that came by an inbox
 * @property {string} inbox_id
 * @property {string} file_name
 * @property {number} size
 * @property {string} received_at
 * @property {string | null} series_instance_uid
 */

/** @typedef {{at: string, action: string, outcome: string, by: string, instances: number}} Use  a line of the audit */

const AT_ONCE = 100;
const ANSWERED_AT_ONCE = 1000;
const MOST_PAGES = 50;
/** What whoever looks at a share here does themselves. */
const OWN_LOOKS = new Set(["read_share"]);

export class Shares {
  /** @type {Service | null} */
  #service = null;
  #next = "";
  #dialog = find("shares", HTMLDialogElement);
  #list = find("shares-list", HTMLElement);

  /**
   * @param {import("./library.js").Library} library  which knows the names of what is shared
   * @param {(address: string) => void} go
   * @param {() => Promise<unknown>} onAnswer  called when something that came was accepted or declined
   */
  constructor(library, go, onAnswer) {
    this.library = library;
    this.go = go;
    this.onAnswer = onAnswer;
    find("shares-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    find("more-shares", HTMLButtonElement).addEventListener("click", () => this.#telling(() => this.#append()));
  }

  /**
   * Lists the links of a patient, the newest first.
   * @param {Service} service
   */
  open(service) {
    this.#service = service;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#list.replaceChildren();
    this.#next = `${service.root}/shares?limit=${AT_ONCE}`;
    return this.#telling(() => this.#append());
  }

  /** Lists them anew, where they are listed. */
  renew() {
    if (this.#dialog.open && this.#service) this.open(this.#service);
  }

  /** @param {() => Promise<unknown>} work */
  async #telling(work) {
    const error = find("shares-error", HTMLElement);
    error.textContent = "";
    await work().catch((refusal) => {
      error.textContent = sentenceOf(refusal);
    });
  }

  async #append() {
    if (!this.#service || !this.#next) return;
    const answer = await this.#service.ask(this.#next);
    /** @type {{shares: Share[]}} */
    const { shares } = await answer.json();
    this.#next = nextOf(answer) ?? "";
    this.#list.append(...shares.map((share) => this.#makeShare(share)));
    find("more-shares", HTMLButtonElement).hidden = !this.#next;
    find("no-shares", HTMLElement).hidden = this.#list.childElementCount > 0;
  }

  /** @param {Share} share */
  #makeShare(share) {
    const row = make("li", `share ${share.state}`);
    row.dataset.share = share.share_id;
    this.#fill(row, share);
    return row;
  }

  /**
   * @param {HTMLElement} row
   * @param {Share} share
   */
  #fill(row, share) {
    const { shares: words } = text;
    const what = this.#whatOf(share);
    const title = make("h3", "", share.label || what);
    const buttons = make("div", "answers");
    if (share.inbox) buttons.append(this.#makeUnfolding(row, "came", words.whatCame, (box) => this.#showCome(box, share)));
    buttons.append(this.#makeUnfolding(row, "uses", words.uses, (box) => this.#showUses(box, share)));
    if (share.state === "open" || share.state === "used-up") {
      buttons.append(makeButton("danger quiet small", words.revoke, () => this.#telling(() => this.#revoke(row, share, share.label || what))));
    }
    row.replaceChildren(
      make("div", "title", title, make("span", "state", words.states[share.state])),
      ...this.#factsOf(share).map((line) => make("p", "facts", line)),
      buttons,
    );
  }

  /**
   * Returns the two lines beneath the name of a share: what it allows, and what became of it.
   * @param {Share} share
   */
  #factsOf(share) {
    const { shares: words } = text;
    const allows = [
      share.label ? this.#whatOf(share) : "",
      share.inbox ? words.came(share.inbox.files, share.inbox.max_files, share.inbox.bytes) : "",
      share.state === "open" || share.state === "used-up" ? words.until(text.moment(share.expires_at)) : "",
      share.inbox ? "" : share.download ? words.download : words.look,
      share.has_passcode ? words.passcode : words.noPasscode,
      share.wrong_passcodes ? words.wrong(share.wrong_passcodes) : "",
    ];
    const opened = share.opened_at ? words.opened(share.opens, share.max_opens, text.moment(share.opened_at)) : words.neverOpened(share.max_opens);
    const became = [opened, words.made(text.moment(share.made_at), share.made_by.subject ?? "")];
    return [allows, became].map((facts) => facts.filter(Boolean).join(" · "));
  }

  /**
   * Says in the lines of a share what is known of it by now.
   * @param {HTMLElement} box  beneath the share
   * @param {Share} share  as it was found now
   */
  #renewFacts(box, share) {
    const lines = this.#factsOf(share);
    box.parentElement?.querySelectorAll(":scope > .facts").forEach((line, at) => {
      line.textContent = lines[at];
    });
  }

  /** @param {Share} share */
  #whatOf({ studies, series, instances, inbox }) {
    if (inbox) return text.shares.inbox;
    if (studies) return text.shares.studies(studies.map((uid) => this.library.nameOfStudy(uid)));
    if (series) return text.shares.series(series.map((uid) => this.library.nameOfSeries(uid)));
    return text.images(instances ?? 0);
  }

  /**
   * Makes a button that shows something beneath a share, or hides it.
   * @param {HTMLElement} row
   * @param {string} kind
   * @param {string} label
   * @param {(box: HTMLElement) => Promise<unknown>} fill
   */
  #makeUnfolding(row, kind, label, fill) {
    const button = makeButton("quiet small", label, () => {
      const there = row.querySelector(`.${kind}`);
      button.setAttribute("aria-expanded", String(!there));
      if (there) {
        there.remove();
        return;
      }
      const box = make("div", kind, make("p", "facts", text.loading));
      row.append(box);
      this.#telling(() => fill(box));
    });
    button.setAttribute("aria-expanded", "false");
    return button;
  }

  /**
   * @param {HTMLElement} row
   * @param {Share} share
   * @param {string} name
   */
  async #revoke(row, share, name) {
    const service = this.#service;
    const { shares: words } = text;
    if (!service || !(await isSure(words.revokeTitle(name), words.revokeMeaning, words.revokeNow))) return;
    await service.ask(`${service.root}/shares/${share.share_id}`, { method: "DELETE" });
    const renewed = await service.json(`${service.root}/shares/${share.share_id}`);
    row.className = `share ${renewed.state}`;
    this.#fill(row, renewed);
  }

  // --- who came by it ---------------------------------------------------------------------------------------------

  /**
   * @param {HTMLElement} box
   * @param {Share} share
   */
  async #showUses(box, share) {
    const service = this.#service;
    if (!service) return;
    /** @type {Share & {audit?: Use[]}} */
    const found = await service.json(`${service.root}/shares/${share.share_id}?limit=${AT_ONCE}`);
    const { audit = [] } = found;
    this.#renewFacts(box, found);
    const lines = together(audit.filter(({ action }) => !OWN_LOOKS.has(action)));
    const list = make("ol", "plain", ...lines.map(({ use, times }) => make(
      "li", "",
      make("span", "facts", text.moment(use.at)),
      ` ${text.shares.use(use, times)}`,
    )));
    box.replaceChildren(lines.length ? list : make("p", "facts", text.shares.unused));
  }

  // --- what came by an inbox --------------------------------------------------------------------------------------

  /**
   * @param {HTMLElement} box
   * @param {Share} share
   */
  async #showCome(box, share) {
    const service = this.#service;
    if (!service) return;
    /** @type {Waiting[]} */
    const files = [];
    /** @type {Share & {accepted: number, declined: number} | null} */
    let told = null;
    let next = `${service.root}/shares/${share.share_id}?limit=${AT_ONCE}`;
    for (let page = 0; next && page < MOST_PAGES; page += 1) {
      const answer = await service.ask(next);
      const found = await answer.json();
      told = found;
      files.push(...found.files);
      // The same pages have the lines of the audit: they may go on where the files have ended.
      next = found.files.length < AT_ONCE ? "" : (nextOf(answer) ?? "");
    }
    const { shares: words } = text;
    if (told) this.#renewFacts(box, told);
    const said = make("p", "facts", words.answered(files.length, told?.accepted ?? 0, told?.declined ?? 0));
    said.setAttribute("role", "status");
    box.replaceChildren(said);
    if (!files.length) return;
    const answerAll = make(
      "div", "answers",
      makeButton("small", words.acceptAll, () => this.#telling(() => this.#answer(box, share, "all", false, files.length))),
      makeButton("danger quiet small", words.declineAll, () => this.#telling(() => this.#answer(box, share, "all", true, files.length))),
    );
    /** @type {Map<string, Waiting[]>} */
    const groups = new Map();
    for (const file of files) {
      const key = file.series_instance_uid ?? file.inbox_id;
      groups.set(key, [...(groups.get(key) ?? []), file]);
    }
    if (files.length > 1) box.append(answerAll);
    for (const group of groups.values()) box.append(this.#makeLot(box, share, group));
  }

  /**
   * Makes the part of a list of what came that is one series.
   * @param {HTMLElement} box
   * @param {Share} share
   * @param {Waiting[]} files
   */
  #makeLot(box, share, files) {
    const [first] = files;
    const { shares: words } = text;
    const name = make("span", "what", first.file_name);
    const details = make("details", "lot");
    details.open = files.length <= 5;
    details.append(make("summary", "", name, make("span", "facts", text.filesOf(files.length))));
    this.#nameLot(name, first.inbox_id);
    const ids = files.map(({ inbox_id: id }) => id);
    if (files.length > 1) {
      details.append(make(
        "div", "answers",
        makeButton("small", words.acceptThese(ids.length), () => this.#telling(() => this.#answer(box, share, ids, false))),
        makeButton("danger quiet small", words.declineThese(ids.length), () => this.#telling(() => this.#answer(box, share, ids, true))),
      ));
    }
    const list = make("ul", "plain");
    for (const file of files) list.append(this.#makeFile(box, share, file));
    details.append(list);
    return details;
  }

  /**
   * Says in the place of a file's name whose images they are and what they show.
   * @param {HTMLElement} name
   * @param {string} id
   */
  async #nameLot(name, id) {
    const service = this.#service;
    if (!service) return;
    const said = await Promise.all(["PatientName", "Modality", "StudyDescription", "SeriesDescription"].map(async (keyword) => {
      const { value } = await service.json(`${service.file(id)}/tag/${keyword}`).catch(() => ({ value: "" }));
      return keyword === "PatientName" ? personName(String(value ?? "")) : String(value ?? "");
    }));
    if (said.some(Boolean)) name.textContent = said.filter(Boolean).join(" · ");
  }

  /**
   * @param {HTMLElement} box
   * @param {Share} share
   * @param {Waiting} file
   */
  #makeFile(box, share, file) {
    const { shares: words } = text;
    const look = makeButton("link", file.file_name, () => {
      this.#dialog.close();
      this.go(writeAddress({ patient: this.#service?.patient, file: file.inbox_id, frame: 1 }));
    });
    look.setAttribute("aria-label", words.lookAt(file.file_name));
    const accept = makeButton("small", words.accept, () => this.#telling(() => this.#answer(box, share, [file.inbox_id], false)));
    const decline = makeButton("danger quiet small", words.decline, () => this.#telling(() => this.#answer(box, share, [file.inbox_id], true)));
    for (const button of [accept, decline]) button.setAttribute("aria-label", `${button.textContent}: ${file.file_name}`);
    const row = make(
      "li", "file", make("span", "words", look, make("span", "facts", [text.bytes(file.size), text.moment(file.received_at)].join(" · "))),
      make("span", "answers", accept, decline),
    );
    row.dataset.file = file.inbox_id;
    return row;
  }

  /**
   * Accepts or declines, and shows what is left.
   * @param {HTMLElement} box
   * @param {Share} share
   * @param {string[] | "all"} files
   * @param {boolean} decline
   * @param {number} [count]
   */
  async #answer(box, share, files, decline, count = files.length) {
    const service = this.#service;
    const { shares: words } = text;
    if (!service) return;
    if (decline && !(await isSure(words.declineTitle(count), words.declineMeaning, words.decline))) return;
    const ask = async (/** @type {string[] | "all"} */ some) => {
      const body = { files: some, decline };
      return (await service.ask(`${service.root}/shares/${share.share_id}/accept`, { method: "POST", body })).json();
    };
    // A request goes on for 20 s at most: hundreds of files take several, and whoever waits sees how far it is.
    const tell = (/** @type {number} */ left) => {
      box.querySelector(".facts")?.replaceChildren(words.answering(decline, left));
    };
    for (const button of box.querySelectorAll("button")) button.disabled = true;
    tell(count);
    try {
      if (files === "all") {
        for (let left = Infinity, before = 0; left && left !== before; tell(left)) {
          before = left;
          ({ left } = await ask("all"));
        }
      } else {
        for (let at = 0; at < files.length; at += ANSWERED_AT_ONCE) {
          const rest = Math.max(0, files.length - at - ANSWERED_AT_ONCE);
          for (let left = 1; left; tell(left + rest)) ({ left } = await ask(files.slice(at, at + ANSWERED_AT_ONCE)));
        }
      }
    } finally {
      await this.#showCome(box, share);
      await this.onAnswer();
    }
  }
}

/**
 * Puts lines together that say the same one after another.
 * @param {Use[]} uses
 */
function together(uses) {
  /** @type {{use: Use, times: number}[]} */
  const lines = [];
  for (const use of uses) {
    const last = lines.at(-1);
    if (last && text.shares.use(last.use, 1) === text.shares.use(use, 1)) last.times += 1;
    else lines.push({ use, times: 1 });
  }
  return lines;
}
