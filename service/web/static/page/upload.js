// Uploads: files and folders, four at a time, with what became of each.

import { find, make, save } from "./dom.js";
import { personName } from "./dicomjson.js";
import { text } from "./text.js";

/** @typedef {import("./api.js").Service} Service */

/**
 * @typedef {object} Upload
 * @property {File} file
 * @property {string} path  within the folder that was dropped
 * @property {"waiting" | "sending" | "stored" | "there" | "refused" | "cancelled"} state
 * @property {number} sent  bytes
 * @property {string} id
 * @property {string} reason
 * @property {boolean} otherPatient
 */

const AT_ONCE = 4;
const TRIES = 5;
const MOST_ROWS = 1000;
const NOTICE_MS = 250;

export class Uploads {
  /** @type {Upload[]} */
  #all = [];
  /** @type {Set<XMLHttpRequest>} */
  #requests = new Set();
  /** @type {Service | null} */
  #service = null;
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
   */
  async send(service, files) {
    if (!this.#running) this.#all = [];
    this.#service = service;
    for (const each of files) {
      this.#all.push({ ...each, state: "waiting", sent: 0, id: "", reason: "", otherPatient: false });
    }
    this.#panel.hidden = false;
    if (this.#running) return;
    this.#running = true;
    this.#began = performance.now();
    this.#serverBegan = await serverTime(service);
    find("upload-result", HTMLElement).hidden = true;
    find("upload-cancel", HTMLButtonElement).hidden = false;
    find("upload-close", HTMLButtonElement).hidden = true;
    const timer = setInterval(() => this.#showProgress(), NOTICE_MS);
    this.#showProgress();
    await Promise.all(Array.from({ length: AT_ONCE }, () => this.#work()));
    clearInterval(timer);
    this.#running = false;
    await this.#lookAtPatients(service).catch(() => undefined);
    this.#showProgress();
    this.#showResult();
    if (this.#all.some(({ id }) => id)) await this.onDone();
  }

  /** Stops: what is on its way is cut off, and the rest is not sent. */
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
    for (let tried = 1; ; tried += 1) {
      const { status, body, wait, warning } = await this.#post(upload);
      if (status === 200 || status === 202) {
        upload.state = "stored";
        upload.id = String(body);
        upload.reason = warning;
        return;
      }
      if (upload.state === "cancelled") return;
      if ((status === 429 || status === 503) && wait && tried < TRIES) {
        await new Promise((resolve) => setTimeout(resolve, wait * 1000));
        continue;
      }
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
    const form = new FormData();
    form.append("body", new Blob([upload.file], { type: "application/dicom" }), upload.file.name);
    request.open("POST", `${this.#service?.root}/dicom`);
    request.responseType = "json";
    for (const [name, value] of Object.entries(this.#service?.credentials ?? {})) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded }) => {
      upload.sent = Math.min(loaded, upload.file.size);
    });
    this.#requests.add(request);
    return new Promise((resolve) => {
      request.addEventListener("abort", () => {
        upload.state = "cancelled";
      });
      request.addEventListener("loadend", () => {
        this.#requests.delete(request);
        upload.sent = request.status ? upload.file.size : 0;
        resolve({
          status: request.status,
          body: request.response,
          wait: Number(request.getResponseHeader("Retry-After")),
          warning: (request.getResponseHeader("Warning") ?? "").replace(/299 - /g, "").replaceAll('"', ""),
        });
      });
      request.send(form);
    });
  }

  /**
   * Finds out what was there already, and whose names stand in the files: what came since the beginning is listed with
   * the patient that it names.
   * @param {Service} service
   */
  async #lookAtPatients(service) {
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
    for (const upload of this.#all.filter(({ id }) => id)) {
      const patient = named.get(upload.id);
      if (patient === undefined) upload.state = "there";
      else counts.set(patient, (counts.get(patient) ?? 0) + 1);
    }
    const [usual = ""] = [...counts].sort((one, other) => other[1] - one[1])[0] ?? [];
    for (const upload of this.#all) {
      const patient = named.get(upload.id);
      if (patient === undefined || patient === usual || !patient) continue;
      upload.otherPatient = true;
      upload.reason = [text.otherPatient(patient), upload.reason].filter(Boolean).join(" ");
    }
    const others = this.#all.filter(({ otherPatient }) => otherPatient).length;
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
    const seconds = (performance.now() - this.#began) / 1000;
    const left = sent > 0 && seconds > 1 ? ((size - sent) * seconds) / sent : 0;
    find("upload-progress", HTMLElement).textContent = [
      text.uploading(done, this.#all.length),
      text.bytesOf(sent, size),
      this.#running && left > 0 ? text.left(left) : "",
    ].filter(Boolean).join(" · ");
  }

  #showResult() {
    const counts = { stored: 0, there: 0, refused: 0, cancelled: 0 };
    for (const { state } of this.#all) if (state in counts) counts[/** @type {"stored"} */ (state)] += 1;
    find("upload-progress", HTMLElement).textContent = text.summary(counts);
    find("upload-cancel", HTMLButtonElement).hidden = true;
    find("upload-close", HTMLButtonElement).hidden = false;
    // What went wrong stands first; of the rest the first thousand are shown, and all are in the file.
    const rank = (/** @type {Upload} */ each) => ["refused", "cancelled", "there", "stored"].indexOf(each.state) - (each.reason ? 0.5 : 0);
    const rows = [...this.#all].sort((one, other) => rank(one) - rank(other)).slice(0, MOST_ROWS).map((upload) => {
      const row = make("tr", upload.state);
      const name = make("th", "", upload.path);
      name.scope = "row";
      row.append(name, make("td", "", outcomeOf(upload)), make("td", "", upload.reason));
      return row;
    });
    find("upload-rows", HTMLElement).replaceChildren(...rows);
    find("upload-result", HTMLElement).hidden = false;
  }

  #saveTable() {
    const rows = this.#all.map((upload) => [upload.path, upload.file.size, outcomeOf(upload), upload.reason, upload.id]);
    const lines = [text.tableHead, ...rows].map((row) => row.map(csvCell).join(","));
    save(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv" }), text.tableName);
  }
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

/** @param {Upload} upload */
function outcomeOf({ state, reason }) {
  if (state === "stored") return reason ? text.withWarning : text.stored;
  return { there: text.alreadyThere, refused: text.refused, cancelled: text.cancelled, waiting: "", sending: "" }[state];
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
