// A ZIP among the uploads: the service unpacks it, and answers with a line of JSON for each of its members.

import { text } from "./text.js";

/**
 * @typedef {object} Line  of the answer
 * @property {string} name
 * @property {string} [dicom_id]
 * @property {boolean} [new]
 * @property {number} [problems]
 * @property {number | null} [truncated_at]
 * @property {string} [refused]  why, in a word
 * @property {string} [detail]  why, in a sentence
 * @property {string} [skipped]
 * @property {{complete: boolean, detail?: string}} [summary]  of the last line, which has nothing else
 */

/** @typedef {import("./upload.js").Outcome} Outcome */

const TYPES = new Set(["application/zip", "application/x-zip-compressed"]);

/**
 * Tells whether a file is to be unpacked. Its name has to say so: many documents of other programs are ZIPs too.
 * @param {File} file
 */
export const isArchive = (file) => TYPES.has(file.type) || /\.zip$/i.test(file.name);

/** The lines of one answer, read while they come. */
export class Members {
  /** @type {Outcome[]} */
  all = [];
  /** @type {{complete: boolean, detail?: string} | null}  null until the answer is whole */
  summary = null;
  #read = 0;

  /** @param {string} path  of the ZIP, before the names of its members */
  constructor(path) {
    this.path = path;
  }

  /**
   * Reads on.
   * @param {string} answer  as much of it as is there
   */
  take(answer) {
    for (let end = answer.indexOf("\n", this.#read); end >= 0; end = answer.indexOf("\n", this.#read)) {
      /** @type {Line} */
      const line = JSON.parse(answer.slice(this.#read, end));
      this.#read = end + 1;
      if (line.summary) this.summary = line.summary;
      else this.all.push({ path: `${this.path}/${line.name}`, bytes: null, otherPatient: false, ...fateOf(line) });
    }
  }
}

/**
 * @param {Line} line
 * @returns {Pick<Outcome, "state" | "id" | "reason">}
 */
function fateOf({ dicom_id: id = "", new: isNew, problems = 0, truncated_at: cutAt = null, refused, detail = "", skipped }) {
  if (skipped !== undefined) return { state: "skipped", id, reason: skipped === "dicomdir" ? text.isDirectory : text.isNotDicom };
  if (refused !== undefined) return { state: "refused", id, reason: detail };
  const warnings = [cutAt === null ? "" : text.cutAt(cutAt), problems ? text.problems(problems) : ""];
  return { state: isNew ? "stored" : "there", id, reason: warnings.filter(Boolean).join(" ") };
}
