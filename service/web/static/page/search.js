// The search over a patient's files: the field, what is wrong in it, the hits as a table, and the search to take along.

import { DISC } from "./actions.js";
import { nextOf, Refusal, warningOf } from "./api.js";
import { writeAddress } from "./address.js";
import { Catalogue } from "./catalogue.js";
import { Completion } from "./completion.js";
import { copy, find, make, makeButton, save } from "./dom.js";
import { rawText } from "./elements.js";
import { OPTIONS, readQuery, writeCurl, writeMongosh, writeQuery } from "./query.js";
import { text } from "./text.js";

/**
 * @typedef {import("./api.js").Service} Service
 * @typedef {import("./api.js").Summary} Summary
 * @typedef {import("./elements.js").Tag} Tag
 */

const OWN = new Set(["fields", "orderby", "limit", "offset"]);
const PAGE = 100;
/** What all hits can be downloaded as. */
const FORMATS = { csv: "text/csv", parquet: "application/vnd.apache.parquet", disc: DISC };
/** The columns of a table for which nobody chose any. */
const USUAL = ["PatientID", "StudyDate", "Modality", "SeriesNumber", "InstanceNumber", "SOPInstanceUID"];

export class Search {
  /** @type {Service | null} */
  #service = null;
  /** @type {Catalogue | null} */
  #catalogue = null;
  #query = new URLSearchParams();
  #next = "";
  #asked = 0;
  #field = find("search", HTMLInputElement);
  #chips = find("conditions", HTMLElement);
  #table = find("hits-table", HTMLTableElement);
  #completion = new Completion(this.#field, find("completions", HTMLElement), (typed, caret) => this.#complete(typed, caret));

  /**
   * @param {(address: string) => void} go
   * @param {(sentence: string) => void} tell
   * @param {(error: unknown) => void} tellError
   */
  constructor(go, tell, tellError) {
    this.go = go;
    this.tell = tell;
    find("search-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#completion.hide();
      this.#submit();
    });
    this.#field.addEventListener("input", () => this.#showConditions(readQuery(this.#field.value).filter(({ value }) => value), new Map()));
    find("more-hits", HTMLButtonElement).addEventListener("click", () => this.#showMore());
    const column = find("column", HTMLInputElement);
    this.columns = new Completion(column, find("columns-offered", HTMLElement), async (typed) => ({
      offers: (await this.#rows(typed)).map((row) => ({ label: row.path, hint: text.filesOf(row.files), insert: row.path })),
      from: 0,
      to: typed.length,
    }), () => this.#addColumn());
    find("columns-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#addColumn();
    });
    for (const kind of /** @type {const} */ (["link", "curl", "mongosh"])) {
      const button = find(`copy-${kind}`, HTMLButtonElement);
      button.addEventListener("click", async () => copy(button, await this.#written(kind), text.copied));
    }
    for (const button of document.querySelectorAll("[data-format]")) {
      const format = /** @type {keyof typeof FORMATS} */ (button.getAttribute("data-format"));
      button.addEventListener("click", () => this.#download(format).catch(tellError));
    }
  }

  /** @param {Service} service */
  open(service) {
    this.#service = service;
    this.#catalogue = new Catalogue(service);
    this.#field.value = "";
    this.#showConditions([], new Map());
  }

  /** Asks anew for what the files say, because they are others now. */
  forget() {
    if (this.#service) this.#catalogue = new Catalogue(this.#service);
  }

  /** Lets the keyboard into the field. */
  focus() {
    this.#field.focus();
    this.#field.select();
  }

  /**
   * Searches, and shows the hits.
   * @param {string} query  of the address
   */
  async run(query) {
    const asked = (this.#asked += 1);
    this.#query = new URLSearchParams(query);
    const conditions = this.#conditions();
    const typed = writeQuery(conditions);
    // What somebody is writing stays as it is written, as long as it says the same.
    const written = writeQuery(readQuery(this.#field.value).map(({ name, value }) => [name, value]));
    if (document.activeElement !== this.#field || written !== typed) this.#field.value = typed;
    this.#showConditions(readQuery(typed), new Map());
    const status = find("hits-count", HTMLElement);
    status.textContent = text.loading;
    this.#table.replaceChildren();
    find("more-hits", HTMLButtonElement).hidden = true;
    const service = this.#service;
    if (!service) return;
    try {
      const answer = await service.ask(`${service.root}/dicom?${this.#asks()}`);
      const { instances } = await answer.json();
      if (asked !== this.#asked) return;
      this.#next = nextOf(answer) ?? "";
      this.#makeHead();
      this.#table.createTBody();
      this.#append(instances, answer);
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#table.hidden = true;
      const isRefused = error instanceof Refusal && error.status < 500;
      const isBlamed = isRefused && (await this.#blame(readQuery(typed)));
      status.textContent = isBlamed ? text.seeAbove : /** @type {Error} */ (error).message;
    }
  }

  /** @returns {[string, string][]} */
  #conditions() {
    return [...this.#query].filter(([name]) => !OWN.has(name));
  }

  /** Returns the columns: what is searched for, and what was added. */
  #columns() {
    const added = (this.#query.get("fields") ?? "").split(",").filter(Boolean);
    const searched = this.#conditions().map(([name]) => name).filter((name) => !OPTIONS.has(name));
    return [...new Set([...searched, ...added])];
  }

  /** Returns the parameters that the service is asked with. */
  #asks() {
    const asks = new URLSearchParams(this.#conditions());
    const columns = this.#columns();
    if (columns.length) asks.set("fields", columns.join(","));
    const order = this.#query.get("orderby");
    if (order) asks.set("orderby", order);
    asks.set("limit", String(PAGE));
    return asks;
  }

  // --- what is typed ----------------------------------------------------------------------------------------------

  #submit() {
    const words = readQuery(this.#field.value);
    const wrong = new Map();
    for (const [at, { name, word }] of words.entries()) {
      if (!word.includes("=")) wrong.set(at, text.noEquals(name));
      else if (!name) wrong.set(at, text.noName);
    }
    this.#showConditions(words, wrong);
    if (wrong.size || !this.#service) return;
    const query = new URLSearchParams(words.map(({ name, value }) => [name, value]));
    for (const kept of ["fields", "orderby"]) {
      const value = this.#query.get(kept);
      if (value && !query.has(kept)) query.set(kept, value);
    }
    this.go(writeAddress({ patient: this.#service.patient, query: query.toString() }));
  }

  /**
   * Shows the conditions beneath the field, and what is wrong with each.
   * @param {import("./query.js").Condition[]} words
   * @param {Map<number, string>} wrong  sentences by the number of the word
   */
  #showConditions(words, wrong) {
    this.#field.setAttribute("aria-invalid", String(wrong.size > 0));
    this.#chips.replaceChildren(...words.map((each, at) => {
      const sentence = wrong.get(at);
      const chip = make("li", sentence ? "chip wrong" : "chip", make("code", "", each.word));
      const remove = makeButton("remove", "×", () => {
        this.#field.value = (this.#field.value.slice(0, each.start) + this.#field.value.slice(each.end)).trim().replace(/\s+/g, " ");
        if (readQuery(this.#field.value).length) this.#submit();
        else if (this.#service) this.go(writeAddress({ patient: this.#service.patient }));
        this.#field.focus();
      });
      remove.setAttribute("aria-label", text.removeCondition(each.word));
      chip.append(remove);
      if (sentence) chip.append(make("span", "sentence", sentence));
      return chip;
    }));
  }

  /**
   * Finds out which of the words the service refuses, by asking for each alone, and says it there.
   * @param {import("./query.js").Condition[]} words
   * @returns {Promise<boolean>}  whether it is one of them
   */
  async #blame(words) {
    const service = this.#service;
    const wrong = new Map();
    if (!service) return false;
    await Promise.all(words.map(async ({ name, value }, at) => {
      const query = new URLSearchParams([[name, value], ["limit", "1"]]);
      await service.ask(`${service.root}/dicom?${query}`).catch((error) => {
        if (error.status < 500) wrong.set(at, error.message || text.refusedCondition);
      });
    }));
    this.#showConditions(words, wrong);
    return wrong.size > 0;
  }

  /**
   * @param {string} typed
   * @param {number} caret
   */
  async #complete(typed, caret) {
    const word = readQuery(typed).find(({ start, end }) => start <= caret && caret <= end);
    const name = word?.name ?? "";
    if (word?.word.includes("=")) {
      const from = word.start + name.length + 1;
      const values = (await this.#catalogue?.values(name, word.value)) ?? [];
      return {
        offers: values.filter((value) => value !== word.value)
          .map((value) => ({ label: value, hint: "", insert: `${/\s/.test(value) ? `"${value}"` : value} ` })),
        from,
        to: word.end,
      };
    }
    if (!word && !typed.trim()) return { offers: [], from: 0, to: 0 };
    const rows = await this.#rows(name);
    return {
      offers: rows.map((row) => ({
        label: row.path,
        hint: row.more_values || row.values.length > 3 ? text.filesOf(row.files) : row.values.join(", ").slice(0, 60),
        insert: `${row.path}=`,
      })),
      from: word?.start ?? caret,
      to: word?.end ?? caret,
    };
  }

  /** @param {string} typed */
  async #rows(typed) {
    return (await this.#catalogue?.paths(typed)) ?? [];
  }

  // --- hits -------------------------------------------------------------------------------------------------------

  #makeHead() {
    const row = this.#table.createTHead().insertRow();
    const order = this.#query.get("orderby") ?? "";
    row.append(headCell(text.fileName));
    const added = (this.#query.get("fields") ?? "").split(",");
    for (const name of this.#columns()) {
      const sorted = order === name ? "ascending" : order === `-${name}` ? "descending" : "none";
      const sort = makeButton("sort", name, () => this.#change("orderby", sorted === "ascending" ? `-${name}` : name));
      sort.setAttribute("aria-label", text.sortBy(name));
      const cell = headCell(sort);
      cell.setAttribute("aria-sort", sorted);
      if (added.includes(name) && !this.#query.has(name)) {
        const remove = makeButton("remove", "×", () => this.#change("fields", added.filter((each) => each !== name).join(",")));
        remove.setAttribute("aria-label", text.removeColumn(name));
        cell.append(remove);
      }
      row.append(cell);
    }
    row.append(headCell(text.received));
  }

  /**
   * @param {Summary[]} instances
   * @param {Response} answer
   */
  #append(instances, answer) {
    const body = this.#table.tBodies[0];
    for (const each of instances) body.append(this.#makeHit(each));
    const count = body.rows.length;
    const warning = warningOf(answer.headers.get("Warning"));
    find("hits-count", HTMLElement).textContent = [count ? text.hits(count, this.#next !== "") : text.noHits, warning].filter(Boolean).join(" · ");
    find("more-hits", HTMLButtonElement).hidden = !this.#next;
    this.#table.hidden = !count;
  }

  /** @param {Summary} hit */
  #makeHit(hit) {
    const row = make("tr");
    const link = make("a", "", hit.file_name);
    link.href = addressOf(this.#service?.patient ?? "", hit);
    const title = make("th", "", link);
    title.scope = "row";
    row.append(title);
    for (const name of this.#columns()) row.append(make("td", "", cellText(hit.fields?.[name])));
    row.append(make("td", "facts", text.moment(hit.received_at)));
    return row;
  }

  async #showMore() {
    if (!this.#service || !this.#next) return;
    const answer = await this.#service.ask(this.#next);
    this.#next = nextOf(answer) ?? "";
    this.#append((await answer.json()).instances, answer);
  }

  /**
   * Saves all hits: what the columns say of them, or their files.
   * @param {keyof typeof FORMATS} format
   */
  async #download(format) {
    const service = this.#service;
    find("hits-menu", HTMLDetailsElement).open = false;
    if (!service) return;
    const asks = format === "disc" ? new URLSearchParams(this.#conditions()) : this.#asks();
    asks.delete("limit");
    if (format !== "disc" && !asks.has("fields")) asks.set("fields", USUAL.join(","));
    this.tell(text.downloading);
    const answer = await service.ask(`${service.root}/dicom?${asks}`, { accept: FORMATS[format] });
    save(await answer.blob(), text.hitsNames[format]);
    this.tell(warningOf(answer.headers.get("Warning")));
  }

  #addColumn() {
    const column = find("column", HTMLInputElement);
    const name = column.value.trim();
    column.value = "";
    this.columns.hide();
    if (name) this.#change("fields", [...(this.#query.get("fields") ?? "").split(",").filter(Boolean), name].join(","));
  }

  /**
   * Searches again with one parameter changed.
   * @param {string} name
   * @param {string} value
   */
  #change(name, value) {
    const query = new URLSearchParams(this.#query);
    if (value) query.set(name, value);
    else query.delete(name);
    this.go(writeAddress({ patient: this.#service?.patient, query: query.toString() }));
  }

  /** @param {"link" | "curl" | "mongosh"} kind */
  async #written(kind) {
    const service = this.#service;
    if (!service) return "";
    if (kind === "link") return location.href;
    if (kind === "curl") return writeCurl(`${location.origin}${service.root}/dicom`, this.#asks());
    const { line, unknown } = writeMongosh(service.patient, this.#conditions(), (await this.#catalogue?.rows()) ?? []);
    return line || text.notTranslated(unknown);
  }
}

/**
 * Returns the address of a hit.
 * @param {string} patient
 * @param {Summary} hit
 */
function addressOf(patient, hit) {
  const [study, series, instance] = [hit.study_instance_uid, hit.series_instance_uid, hit.sop_instance_uid];
  if (study && series && instance) return writeAddress({ patient, study, series, instance, frame: 1 });
  return writeAddress({ patient, file: hit.dicom_id, frame: 1 });
}

/** @param {string | Node} content */
function headCell(content) {
  const cell = make("th", "", content);
  cell.scope = "col";
  return cell;
}

/** @param {Tag | Tag[] | null | undefined} field */
function cellText(field) {
  if (!field) return "";
  return Array.isArray(field) ? field.map(rawText).join(", ") : rawText(field);
}
