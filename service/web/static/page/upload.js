// Uploads: files, folders and ZIPs, four at a time, with what became of each file.

import { Refusal, warningOf } from "./api.js";
import { isArchive, Members } from "./archive.js";
import { find, make, save } from "./dom.js";
import { personName } from "./dicomjson.js";
import { text } from "./text.js";

/** @typedef {import("./api.js").Service} Service */

/** @typedef {"waiting" | "sending" | "stored" | "there" | "refused" | "cancelled" | "skipped" | "incomplete" | "sent"} State */

/**
 * @typedef {object} Outcome  what became of a file, or of a member of a ZIP
 * @property {string} path  within the folder that was dropped
 * @property {number | null} bytes  null of a member
 * @property {State} state
 * @property {string} id
 * @property {string} reason
 * @property {boolean} otherPatient
 */

/**
 * @typedef {Outcome & {file: File, sent: number, members: Members | null}} Upload
 *   a file that is sent, how many bytes of it are gone, and what came out of it, if it is a ZIP
 */

const AT_ONCE = 4;
const TRIES = 5;
const MOST_ROWS = 1000;
const NOTICE_MS = 250;
const HEAD_BYTES = 512;
/** Media Storage Directory Storage: the class of a DICOMDIR (PS3.10 8.6). */
const DIRECTORY_CLASS = "1.2.840.10008.1.3.10";
/** What lies beside the images on a disc: it has an ending of other programs, or a name of theirs. */
const BESIDE = /\.(?!dcm$|dic$|dicom$|ima?$|img$)[a-z]\w{1,9}$|^(autorun|lockfile|readme|version)$/i;
/** What went wrong stands first. */
const RANKS = ["refused", "incomplete", "cancelled", "there", "stored", "sent", "skipped"];

export class Uploads {
  /** @type {Upload[]} */
  #all = [];
  /** @type {Set<XMLHttpRequest>} */
  #requests = new Set();
  /** @type {Outcome[]} what came into an inbox before; nobody can look it up there */
  #before = [];
  /** @type {Service | null} */
  #service = null;
  #isInbox = false;
  #running = false;
  #began = 0;
  #serverBegan = 0;
  #panel = find("uploads", HTMLElement);
  #bar = find("upload-bar", HTMLProgressElement);

  /** @param {() => Promise<unknown> | unknown} onDone  called when something was stored */
  constructor(onDone) {
    this.onDone = onDone;
    find("upload-cancel", HTMLButtonElement).addEventListener("click", () => this.cancel());
    find("upload-close", HTMLButtonElement).addEventListener("click", () => this.close());
    find("upload-save", HTMLButtonElement).addEventListener("click", () => this.#saveTable());
    addEventListener("beforeunload", (event) => {
      if (this.#running) event.preventDefault();
    });
  }

  /**
   * Uploads files.
   * @param {Service} service
   * @param {{file: File, path: string}[]} files
   * @param {boolean} [isInbox]  whether they go to somebody else, of whose files nothing can be read
   * @throws {Refusal} while files of another patient are uploaded: those that wait would go to this one
   */
  async send(service, files, isInbox = false) {
    if (this.#running && this.#service?.root !== service.root) {
      throw new Refusal(text.stillUploading(this.#service?.patient ?? ""), 409);
    }
    if (!this.#running) this.#all = [];
    this.#service = service;
    this.#isInbox = isInbox;
    for (const each of files) {
      const members = isArchive(each.file) ? new Members(each.path) : null;
      this.#all.push({ ...each, bytes: each.file.size, state: "waiting", sent: 0, id: "", reason: "", otherPatient: false, members });
    }
    this.#panel.hidden = false;
    if (this.#running) return;
    this.#running = true;
    this.#began = performance.now();
    this.#serverBegan = isInbox ? 0 : await serverTime(service);
    find("upload-result", HTMLElement).hidden = true;
    find("upload-cancel", HTMLButtonElement).hidden = false;
    find("upload-close", HTMLButtonElement).hidden = true;
    const timer = setInterval(() => this.#showProgress(), NOTICE_MS);
    this.#showProgress();
    await Promise.all(Array.from({ length: AT_ONCE }, () => this.#work()));
    clearInterval(timer);
    this.#running = false;
    const outcomes = outcomesOf(this.#all);
    if (isInbox) {
      for (const outcome of outcomes) if (outcome.state === "stored") outcome.state = "sent";
      this.#before.push(...outcomes);
      this.#showProgress();
      this.#showResult(this.#before);
      return;
    }
    await this.#lookAtPatients(service, outcomes).catch(() => undefined);
    this.#showProgress();
    this.#showResult(outcomes);
    // A ZIP that was cut off may have brought files of which no line has come back.
    if (outcomes.some(({ id }) => id) || this.#all.some(({ members, state }) => members && state !== "refused")) await this.onDone();
  }

  /** Stops: what is on its way is cut off, and the rest is not sent. What is stored by then stays. */
  cancel() {
    for (const each of this.#all) if (each.state === "waiting") each.state = "cancelled";
    for (const request of this.#requests) request.abort();
  }

  /** Puts the panel away. */
  close() {
    if (!this.#running) this.#panel.hidden = true;
  }

  async #work() {
    for (let next = this.#next(); next; next = this.#next()) await this.#send(next);
  }

  #next() {
    const next = this.#all.find(({ state }) => state === "waiting");
    if (next) next.state = "sending";
    return next;
  }

  /** @param {Upload} upload */
  async #send(upload) {
    const beside = upload.members ? "" : await besideImages(upload);
    if (beside) {
      upload.state = "skipped";
      upload.reason = beside;
      upload.sent = upload.file.size;
      return;
    }
    for (let tried = 1; ; tried += 1) {
      const { status, body, wait, warning } = await this.#post(upload);
      if (upload.state === "cancelled") return;
      if (upload.members && (status === 200 || upload.members.all.length)) {
        const { summary } = upload.members;
        upload.state = summary?.complete ? "stored" : "incomplete";
        upload.reason = summary?.complete ? "" : (summary?.detail ?? text.brokenOff);
        return;
      }
      if (status === 200 || status === 202) {
        upload.state = "stored";
        upload.id = String(body);
        upload.reason = warning;
        return;
      }
      if ((status === 429 || status === 503) && wait && tried < TRIES) {
        await new Promise((resolve) => setTimeout(resolve, wait * 1000));
        continue;
      }
      if (status === 401) this.#service?.onEnd();
      upload.state = "refused";
      upload.reason = body?.detail || (status ? text.answered(status) : text.notReached);
      return;
    }
  }

  /**
   * @param {Upload} upload
   * @returns {Promise<{status: number, body: any, wait: number, warning: string}>}
   */
  #post(upload) {
    // Only this way of asking tells how many bytes have gone.
    const request = new XMLHttpRequest();
    const { file, members } = upload;
    request.open("POST", `${this.#service?.root}/dicom`);
    for (const [name, value] of Object.entries(this.#service?.credentials ?? {})) request.setRequestHeader(name, value);
    /** @type {Blob | FormData} */
    let content = new FormData();
    if (members) {
      content = file;
      request.setRequestHeader("Content-Type", "application/zip");
      const read = () => request.status === 200 && members.take(request.responseText);
      request.addEventListener("progress", read);
      request.addEventListener("load", read);
    } else {
      content.append("body", new Blob([file], { type: "application/dicom" }), file.name);
    }
    request.upload.addEventListener("progress", ({ loaded }) => {
      upload.sent = Math.min(loaded, upload.file.size);
    });
    this.#requests.add(request);
    return new Promise((resolve) => {
      request.addEventListener("abort", () => {
        upload.state = "cancelled";
        upload.reason = members ? text.unpackedStays : "";
      });
      request.addEventListener("loadend", () => {
        this.#requests.delete(request);
        upload.sent = request.status ? upload.file.size : 0;
        resolve({
          status: request.status,
          body: members && request.status === 200 ? null : jsonOf(request.responseText),
          wait: Number(request.getResponseHeader("Retry-After")),
          warning: warningOf(request.getResponseHeader("Warning")),
        });
      });
      request.send(content);
    });
  }

  /**
   * Finds out what was there already, and whose names stand in the files: what came since the beginning is listed with
   * the patient that it names.
   * @param {Service} service
   * @param {Outcome[]} outcomes
   */
  async #lookAtPatients(service, outcomes) {
    /** @type {Map<string, string>} */
    const named = new Map();
    const query = new URLSearchParams({ fields: "PatientID,PatientName" });
    listing: for await (const page of service.summaries(query)) {
      for (const { dicom_id: id, received_at: received, fields } of page) {
        if (Date.parse(received) < this.#serverBegan) break listing;
        const [number, name] = [fields?.PatientID?.value, fields?.PatientName?.value].map((value) => String(value ?? ""));
        named.set(id, [personName(name) || name, number].filter(Boolean).join(", "));
      }
    }
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const outcome of outcomes.filter(({ id }) => id)) {
      const patient = named.get(outcome.id);
      if (patient === undefined) outcome.state = "there";
      else counts.set(patient, (counts.get(patient) ?? 0) + 1);
    }
    const [usual = ""] = [...counts].sort((one, other) => other[1] - one[1])[0] ?? [];
    for (const outcome of outcomes) {
      const patient = named.get(outcome.id);
      if (patient === undefined || patient === usual || !patient) continue;
      outcome.otherPatient = true;
      outcome.reason = [text.otherPatient(patient), outcome.reason].filter(Boolean).join(" ");
    }
    const others = outcomes.filter(({ otherPatient }) => otherPatient).length;
    const warning = find("upload-warning", HTMLElement);
    warning.hidden = !others;
    warning.textContent = others ? text.otherPatients(others, usual) : "";
  }

  #showProgress() {
    const size = this.#all.reduce((sum, { file }) => sum + file.size, 0);
    const sent = this.#all.reduce((sum, upload) => sum + (upload.state === "cancelled" ? upload.file.size : upload.sent), 0);
    const done = this.#all.filter(({ state }) => state !== "waiting" && state !== "sending").length;
    this.#bar.max = Math.max(1, size);
    this.#bar.value = sent;
    const unpacked = this.#all.reduce((sum, { members }) => sum + (members?.all.length ?? 0), 0);
    const seconds = (performance.now() - this.#began) / 1000;
    const left = sent > 0 && seconds > 1 ? ((size - sent) * seconds) / sent : 0;
    find("upload-progress", HTMLElement).textContent = [
      text.uploading(done, this.#all.length),
      text.bytesOf(sent, size),
      unpacked ? text.unpacked(unpacked) : "",
      this.#running && left > 0 ? text.left(left) : "",
    ].filter(Boolean).join(" · ");
  }

  /** @param {Outcome[]} outcomes */
  #showResult(outcomes) {
    /** @type {Record<string, number>} */
    const counts = {};
    for (const { state } of outcomes) counts[state] = (counts[state] ?? 0) + 1;
    find("upload-progress", HTMLElement).textContent = text.summary(counts);
    find("upload-cancel", HTMLButtonElement).hidden = true;
    find("upload-close", HTMLButtonElement).hidden = false;
    // The first thousand are shown, and all are in the file.
    const rank = (/** @type {Outcome} */ { state, reason }) => RANKS.indexOf(state) - (reason ? 0.5 : 0);
    const rows = [...outcomes].sort((one, other) => rank(one) - rank(other)).slice(0, MOST_ROWS).map((outcome) => {
      const row = make("tr", outcome.state);
      const name = make("th", "", outcome.path);
      name.scope = "row";
      row.append(name, make("td", "", said(outcome)), make("td", "", outcome.reason));
      return row;
    });
    find("upload-rows", HTMLElement).replaceChildren(...rows);
    find("upload-result", HTMLElement).hidden = false;
  }

  #saveTable() {
    const rows = (this.#isInbox ? this.#before : outcomesOf(this.#all)).map((outcome) => [outcome.path, outcome.bytes ?? "", said(outcome), outcome.reason, outcome.id]);
    const lines = [text.tableHead, ...rows].map((row) => row.map(csvCell).join(","));
    save(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv" }), text.tableName);
  }
}

/**
 * Returns what became of each file: of a ZIP, of its members, and of itself only where it is not whole or has none.
 * @param {Upload[]} uploads
 * @returns {Outcome[]}
 */
function outcomesOf(uploads) {
  return uploads.flatMap((upload) => {
    if (!upload.members) return [upload];
    const isWhole = upload.state === "stored" && upload.members.all.length > 0;
    return [...(isWhole ? [] : [upload]), ...upload.members.all];
  });
}

/**
 * Returns why a file is not sent that lies beside the images on a disc, as the service leaves it out of a ZIP; nothing
 * where it is sent. What is no directory is left out of folders only: who chooses a letter alone is told of it.
 * @param {Upload} upload
 */
async function besideImages({ file, path }) {
  const bytes = await file.slice(0, HEAD_BYTES).arrayBuffer().catch(() => new ArrayBuffer(0));
  const head = new TextDecoder("latin1").decode(bytes);
  const isDicom = head.slice(128, 132) === "DICM";
  if (/^dicomdir$/i.test(file.name) || (isDicom && head.includes(DIRECTORY_CLASS))) return text.isDirectory;
  return path.includes("/") && !isDicom && BESIDE.test(file.name) ? text.isNotDicom : "";
}

/**
 * Returns the files of what was dropped, those of folders too.
 * @param {DataTransfer} dropped
 */
export async function droppedFiles(dropped) {
  // The entries are there only until the first wait.
  const entries = [...dropped.items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry());
  const plain = [...dropped.files];
  if (entries.some((entry) => entry === null)) return chosenFiles(plain);
  /** @type {{file: File, path: string}[]} */
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, "", found);
  return found;
}

/**
 * Returns the files of a field, each with its path.
 * @param {Iterable<File>} files
 */
export function chosenFiles(files) {
  return [...files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/**
 * @param {FileSystemEntry} entry
 * @param {string} folder
 * @param {{file: File, path: string}[]} found
 */
async function walk(entry, folder, found) {
  if (entry.isFile) {
    const own = /** @type {FileSystemFileEntry} */ (entry);
    const file = await new Promise((resolve, reject) => own.file(resolve, reject));
    found.push({ file, path: folder + entry.name });
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} a hundred at a time */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await walk(each, `${folder}${entry.name}/`, found);
  }
}

/**
 * Returns what is said of an outcome.
 * @param {Outcome} outcome
 */
function said({ state, reason }) {
  if (state === "stored" && reason) return text.withWarning;
  if (state === "sent" && reason) return text.sentWithWarning;
  return text.outcomes[state];
}

/**
 * Returns what an answer says; nothing where it was not the service that answered.
 * @param {string} answer
 * @returns {any}
 */
function jsonOf(answer) {
  try {
    return JSON.parse(answer);
  } catch {
    return null;
  }
}

/**
 * Returns the time by the service's clock, to the second before.
 * @param {Service} service
 */
async function serverTime(service) {
  const answer = await service.ask(`${service.root}/dicom?limit=1`).catch(() => null);
  return Date.parse(answer?.headers.get("Date") ?? "") || Date.now() - 60_000;
}

/**
 * Returns a cell of a CSV file (RFC 4180); what a spreadsheet would take for a formula is kept from being one.
 * @param {string | number} value
 */
function csvCell(value) {
  const written = /^[=+\-@\t]/.test(String(value)) ? `'${value}` : String(value);
  return /[",\r\n]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
}
