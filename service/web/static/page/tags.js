// The tags of what is shown: searched, unfolded, explained, compared with another image's, and what is wrong with them.

import { afterPause, copy, find, make, makeButton } from "./dom.js";
import { flatten, humanText, nameOf, pathsFor, rawText } from "./elements.js";
import { text } from "./text.js";

/**
 * @typedef {import("./api.js").Service} Service
 * @typedef {import("./api.js").Summary} Summary
 * @typedef {import("./elements.js").Tag} Tag
 * @typedef {import("./elements.js").Flat} Flat
 */

/** @typedef {{id: string, name: string, tags: Tag[], flat: Flat[]}} File */

const MOST_SHOWN = 500;

export class Tags {
  /** @type {File | null} */
  #file = null;
  /** @type {File | null} what is compared with */
  #pinned = null;
  /** @type {Readonly<Record<string, string>>} */
  #uidNames = {};
  #asked = new AbortController();
  #search = find("tag-search", HTMLInputElement);
  #tree = find("tree", HTMLElement);
  #count = find("tag-count", HTMLElement);

  constructor() {
    this.#search.addEventListener("input", afterPause(120, () => this.#show()));
    find("pin", HTMLButtonElement).addEventListener("click", () => this.pin());
    find("unpin", HTMLButtonElement).addEventListener("click", () => this.unpin());
  }

  /** Shows nothing. */
  close() {
    this.#asked.abort();
    this.#file = null;
    this.#search.disabled = true;
    this.#count.textContent = "";
    this.#tree.replaceChildren();
    find("warnings", HTMLElement).hidden = true;
    find("pin", HTMLButtonElement).disabled = true;
  }

  /**
   * Shows the tags of a file.
   * @param {Service} service
   * @param {(signal: AbortSignal) => Promise<string>} findId  finds its dicom_id
   * @param {string} name  what to call it
   */
  async open(service, findId, name) {
    this.#asked.abort();
    const { signal } = (this.#asked = new AbortController());
    try {
      const id = await findId(signal);
      if (id === this.#file?.id) return;
      const [tags, summary] = await Promise.all([
        service.json(`${service.file(id)}/tags`, { accept: "application/json", signal }).catch((error) => {
          signal.throwIfAborted();
          this.#count.textContent = error.message;
          return [];
        }),
        service.describe(id, signal),
        this.#loadNames(),
      ]);
      if (signal.aborted) return;
      this.#file = { id, name: `${name} · ${summary.file_name}`, tags, flat: flatten(tags) };
      find("file-name", HTMLElement).textContent = summary.file_name;
      this.#search.disabled = false;
      find("pin", HTMLButtonElement).disabled = false;
      this.#warn(summary);
      this.#show();
    } catch (error) {
      if (!signal.aborted) this.#count.textContent = /** @type {Error} */ (error).message;
    }
  }

  /** Keeps the file that is shown, so that the next is compared with it. */
  pin() {
    if (!this.#file) return;
    this.#pinned = this.#file;
    find("pinned", HTMLElement).hidden = false;
    find("pinned-name", HTMLElement).textContent = text.pinned(this.#pinned.name);
    this.#show();
  }

  /** Shows all tags again. */
  unpin() {
    this.#pinned = null;
    find("pinned", HTMLElement).hidden = true;
    this.#show();
  }

  /** Lets the keyboard into the search of the tags. */
  focus() {
    this.#search.focus();
  }

  async #loadNames() {
    this.#uidNames = (await import("./uids.js")).UID_NAMES;
  }

  /** @param {Summary} summary */
  #warn(summary) {
    const box = find("warnings", HTMLElement);
    const warnings = summary.warnings ?? [];
    const lines = [];
    if (summary.extraction.state === "failed") lines.push(make("li", "", `${text.notExtracted}: ${summary.extraction.error ?? ""}`));
    if (summary.truncated_at !== null) lines.push(make("li", "", text.cutAt(summary.truncated_at)));
    for (const { path, problem } of warnings) lines.push(this.#makeWarning(path ?? "", problem));
    box.hidden = !lines.length;
    find("warnings-title", HTMLElement).textContent = text.warningsOf(Math.max(summary.problems, lines.length));
    find("warnings-list", HTMLElement).replaceChildren(...lines);
  }

  /**
   * @param {string} path
   * @param {string} problem
   */
  #makeWarning(path, problem) {
    const line = make("li");
    if (path) {
      line.append(makeButton("link", path, () => {
        this.#search.value = path;
        this.#show();
      }), " ");
    }
    line.append(problem);
    return line;
  }

  #show() {
    const file = this.#file;
    if (!file) return;
    if (this.#pinned) {
      this.#showDifferences(this.#pinned, file);
      return;
    }
    const words = this.#search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) {
      this.#count.textContent = text.elements(file.flat.length);
      this.#tree.replaceChildren(...file.tags.map((tag) => this.#makeTag(tag, nameOf(tag))));
      return;
    }
    const matches = file.flat.filter(({ text: all }) => words.every((word) => all.includes(word)));
    const cut = matches.length > MOST_SHOWN ? `, ${text.firstShown(MOST_SHOWN)}` : "";
    this.#count.textContent = text.elementsOf(matches.length, file.flat.length) + cut;
    this.#tree.replaceChildren(...matches.slice(0, MOST_SHOWN).map(({ tag, path }) => this.#makeRow(tag, path, words)));
  }

  /**
   * @param {File} one
   * @param {File} other
   */
  #showDifferences(one, other) {
    if (one.id === other.id) {
      this.#count.textContent = text.pinnedHint;
      this.#tree.replaceChildren();
      return;
    }
    const words = this.#search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const [left, right] = [byPath(one.flat), byPath(other.flat)];
    const paths = [...new Set([...left.keys(), ...right.keys()])].filter((path) => {
      const [first, second] = [left.get(path), right.get(path)];
      const all = `${first?.text ?? ""} ${second?.text ?? ""}`;
      return !same(first?.tag, second?.tag) && words.every((word) => all.includes(word));
    });
    this.#count.textContent = paths.length ? text.differ(paths.length) : text.same;
    const table = make("table", "differences");
    const head = table.createTHead().insertRow();
    for (const name of [text.element, one.name, other.name]) {
      const cell = make("th", "", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const path of paths.slice(0, MOST_SHOWN)) {
      const row = body.insertRow();
      const title = make("th", "keyword", path);
      title.scope = "row";
      row.append(title);
      for (const side of [left, right]) row.append(make("td", "", ...this.#valueParts(side.get(path)?.tag)));
    }
    this.#tree.replaceChildren(...(paths.length ? [table] : []));
  }

  /** @param {Tag | undefined} tag */
  #valueParts(tag) {
    if (!tag) return [make("span", "none", text.absent)];
    return [this.#makeValue(tag, [])];
  }

  /**
   * @param {Tag} tag
   * @param {string} path
   * @returns {HTMLElement}
   */
  #makeTag(tag, path) {
    if (tag.vr !== "SQ" || tag.spilled) return this.#makeRow(tag, path, []);
    /** @type {Tag[][]} */
    const items = tag.value ?? [];
    const details = make("details", "sequence");
    details.append(make(
      "summary", "",
      make("span", "keyword", nameOf(tag)),
      make("span", "facts", text.itemsOf(items.length)),
      make("code", "", `${tag.group_id},${tag.element_id} SQ`),
    ));
    // What is inside is made when it is opened: a sequence may have thousands of items.
    details.addEventListener("toggle", () => {
      if (details.childElementCount > 1) return;
      for (const [at, item] of items.entries()) {
        const group = make("div", "item");
        if (items.length > 1) group.append(make("div", "facts", text.item(at)));
        group.append(...item.map((inner) => this.#makeTag(inner, `${path}[${at}].${nameOf(inner)}`)));
        details.append(group);
      }
    });
    return details;
  }

  /**
   * @param {Tag} tag
   * @param {string} path
   * @param {string[]} words  that are marked
   */
  #makeRow(tag, path, words) {
    const keyword = make("span", "keyword");
    keyword.title = tag.name ?? "";
    mark(keyword, words.length ? path : nameOf(tag), words);
    const menu = makeButton("more", "⋯", () => this.#offerPaths(row, path));
    menu.setAttribute("aria-label", `${text.copyPath}: ${path}`);
    menu.setAttribute("aria-expanded", "false");
    const row = make(
      "div", "tag",
      keyword,
      make("code", "", `${tag.group_id},${tag.element_id} ${tag.vr}`),
      menu,
      this.#makeValue(tag, words),
    );
    return row;
  }

  /**
   * @param {Tag} tag
   * @param {string[]} words
   */
  #makeValue(tag, words) {
    const raw = rawText(tag);
    const human = humanText(tag, this.#uidNames);
    const value = make("span", raw ? "value" : "value none");
    const shown = make("span");
    mark(shown, human || text.empty, words);
    value.append(shown);
    if (human !== raw && tag.vr === "UI") value.append(make("span", "facts uid", raw));
    else if (human !== raw) shown.title = raw;
    if (tag.problem) value.append(" ", make("span", "problem", tag.problem));
    return value;
  }

  /**
   * @param {HTMLElement} row
   * @param {string} path
   */
  #offerPaths(row, path) {
    const button = row.querySelector("button.more");
    const open = row.querySelector(".paths");
    button?.setAttribute("aria-expanded", String(!open));
    if (open) {
      open.remove();
      return;
    }
    const lines = make("div", "paths");
    for (const [kind, written] of Object.entries(pathsFor(path))) {
      const name = text.copyAs[/** @type {"api"} */ (kind)];
      const take = makeButton("quiet small", name, () => copy(take, written, text.copied));
      lines.append(take, make("code", "", written));
    }
    row.append(lines);
  }
}

/** @param {Flat[]} flat */
const byPath = (flat) => new Map(flat.map((each) => [each.path, each]));

/**
 * @param {Tag | undefined} one
 * @param {Tag | undefined} other
 */
function same(one, other) {
  if (!one || !other) return one === other;
  return one.vr === other.vr && rawText(one) === rawText(other);
}

/**
 * Puts a text in, with the first of the words marked.
 * @param {HTMLElement} element
 * @param {string} written
 * @param {string[]} words
 */
function mark(element, written, words) {
  const lower = written.toLowerCase();
  const word = words.find((each) => lower.includes(each));
  if (word === undefined || lower.length !== written.length) {
    element.append(written);
    return;
  }
  const start = lower.indexOf(word);
  element.append(written.slice(0, start), make("mark", "", written.slice(start, start + word.length)), written.slice(start + word.length));
}
