// The service, asked as one patient's token allows. A patient's own token is kept here, in memory, and nowhere else.

import { text } from "./text.js";

/** What the service refuses, with its own sentence. */
export class Refusal extends Error {
  /**
   * @param {string} sentence
   * @param {number} status
   * @param {string} [code]  what is wrong, in a word
   */
  constructor(sentence, status, code = "") {
    super(sentence);
    this.status = status;
    this.code = code;
  }
}

/**
 * @typedef {object} Asked
 * @property {string} [accept]
 * @property {string} [method]
 * @property {unknown} [body]  sent as JSON
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 */

/**
 * @typedef {object} Summary  of an instance, as a list shows it
 * @property {string} dicom_id
 * @property {string} file_name
 * @property {number} size
 * @property {string} received_at
 * @property {string | null} study_instance_uid
 * @property {string | null} series_instance_uid
 * @property {string | null} sop_instance_uid
 * @property {number} problems
 * @property {number | null} truncated_at
 * @property {{state: string, error: string | null}} extraction
 * @property {Record<string, any>} [fields]
 * @property {{path?: string | null, problem: string}[]} [warnings]
 */

export const DICOM_JSON = "application/dicom+json";
const MAX_PAGE = 1000;
const TRIES = 4;

export class Service {
  #token;

  /**
   * @param {string} patient
   * @param {string} token
   * @param {() => void} [onEnd]  called when the service takes the token no longer
   */
  constructor(patient, token, onEnd = () => undefined) {
    this.patient = patient;
    this.onEnd = onEnd;
    this.#token = token;
    this.root = `/patient/${encodeURIComponent(patient)}`;
    this.dicomweb = `${this.root}/dicomweb`;
  }

  /** The header that says who asks. */
  get credentials() {
    return { "access-token": this.#token };
  }

  /**
   * Asks as the token allows.
   * @param {string} path
   * @param {Asked} [options]
   * @throws {Refusal}
   */
  async ask(path, options = {}) {
    try {
      return await ask(path, { ...options, headers: this.credentials });
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) this.onEnd();
      throw error;
    }
  }

  /**
   * Asks for JSON.
   * @param {string} path
   * @param {Asked} [options]
   * @returns {Promise<any>}
   */
  async json(path, options) {
    return (await this.ask(path, options)).json();
  }

  /**
   * Searches DICOMweb, page by page; what it gives are datasets of the DICOM JSON Model.
   * @param {string} path  such as `/series`
   * @param {URLSearchParams} [query]
   * @param {AbortSignal} [signal]
   * @returns {AsyncGenerator<any[]>}
   */
  async *pages(path, query = new URLSearchParams(), signal = undefined) {
    for (let offset = 0; ; ) {
      query.set("limit", String(MAX_PAGE));
      query.set("offset", String(offset));
      const answer = await this.ask(`${this.dicomweb}${path}?${query}`, { accept: DICOM_JSON, signal });
      const found = await answer.json();
      yield found;
      offset += found.length;
      if (!found.length || !answer.headers.has("Warning")) return;
    }
  }

  /**
   * Lists instances, or those that a search finds, page by page.
   * @param {URLSearchParams} [query]
   * @returns {AsyncGenerator<Summary[]>}
   */
  async *summaries(query = new URLSearchParams()) {
    query.set("limit", String(MAX_PAGE));
    for (let path = `${this.root}/dicom?${query}`; path; ) {
      const answer = await this.ask(path);
      yield (await answer.json()).instances;
      path = nextOf(answer) ?? "";
    }
  }

  /**
   * Returns the summary of the instance that the three UIDs name: of several, that of the newest.
   * @param {{study: string, series: string, instance: string}} uids
   * @param {AbortSignal} [signal]
   * @returns {Promise<Summary>}
   */
  async summaryOf({ study, series, instance }, signal) {
    const query = new URLSearchParams({
      SOPInstanceUID: instance, SeriesInstanceUID: series, StudyInstanceUID: study, limit: "1",
    });
    const { instances } = await this.json(`${this.root}/dicom?${query}`, { signal });
    if (!instances.length) throw new Refusal(text.gone, 404);
    return instances[0];
  }

  /**
   * Returns all that is known about a file.
   * @param {string} dicomId
   * @param {AbortSignal} [signal]
   * @returns {Promise<Summary>}
   */
  describe(dicomId, signal) {
    return this.json(this.file(dicomId), { accept: "application/json", signal });
  }

  /** @param {string} dicomId */
  file(dicomId) {
    return `${this.root}/dicom/${encodeURIComponent(dicomId)}`;
  }

  /**
   * Returns the path of a study, a series or an instance in DICOMweb.
   * @param {{study: string, series?: string, instance?: string}} uids
   */
  place({ study, series, instance }) {
    let path = `${this.dicomweb}/studies/${encodeURIComponent(study)}`;
    if (series) path += `/series/${encodeURIComponent(series)}`;
    if (instance) path += `/instances/${encodeURIComponent(instance)}`;
    return path;
  }
}

/**
 * Asks, and waits and asks again where the service says that it is busy.
 * @param {string} path
 * @param {Asked} [options]
 * @throws {Refusal}
 */
export async function ask(path, { accept, method = "GET", body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (accept) sent.Accept = accept;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const content = body === undefined ? undefined : JSON.stringify(body);
  for (let tried = 1; ; tried += 1) {
    const answer = await fetch(path, { method, headers: sent, body: content, signal, credentials: "omit", cache: "no-cache" });
    if (answer.ok) return answer;
    const wait = Number(answer.headers.get("Retry-After"));
    if ((answer.status !== 429 && answer.status !== 503) || !wait || tried === TRIES) throw await refusalOf(answer);
    await new Promise((resolve) => setTimeout(resolve, Math.min(wait, 10) * 1000));
    signal?.throwIfAborted();
  }
}

/**
 * Returns the path of the next page, where there is one.
 * @param {Response} answer
 */
export function nextOf(answer) {
  return /<([^>]*)>; *rel="next"/.exec(answer.headers.get("Link") ?? "")?.[1] ?? null;
}

/**
 * Returns the sentences of a header `Warning`.
 * @param {string | null} header
 */
export const warningOf = (header) => (header ?? "").replace(/299 - /g, "").replaceAll('"', "");

/**
 * Asks for a token, which only a service in development mode gives.
 * @param {string} patient
 * @returns {Promise<string | null>}  null where a token has to be brought
 * @throws {Refusal}
 */
export async function askForToken(patient) {
  const answer = await fetch(`/patient/${encodeURIComponent(patient)}/token`, { credentials: "omit" });
  if (answer.status === 404 || answer.status === 401) return null;
  if (!answer.ok) throw await refusalOf(answer);
  return (await answer.json()).access_token;
}

/**
 * Returns what a refusal says.
 * @param {Response} answer
 */
async function refusalOf(answer) {
  let said = { detail: "", code: "" };
  try {
    said = await answer.json();
  } catch {
    // It was not the service that answered.
  }
  return new Refusal(said.detail || text.answered(answer.status), answer.status, said.code);
}
