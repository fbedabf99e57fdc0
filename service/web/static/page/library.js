// The list of what a patient has: studies, newest first, in each its series, in each its images.

import { writeAddress } from "./address.js";
import { find, make, makeButton } from "./dom.js";
import { number, textOf } from "./dicomjson.js";
import { text } from "./text.js";

/**
 * @typedef {import("./dicomjson.js").Dataset} Dataset
 * @typedef {import("./api.js").Service} Service
 * @typedef {import("./api.js").Summary} Summary
 * @typedef {import("./address.js").Place} Place
 */

/** @typedef {{uid: string, date: string, series: Dataset[]}} Study */

const INSTANCE_FIELDS = "InstanceNumber,NumberOfFrames,Rows,Columns";
const THUMBNAILS_AT_ONCE = 3;
const OPEN_STUDIES = 3;
const FILES_AT_ONCE = 100;

export class Library {
  /** @type {Service | null} whose list is asked for, or shown */
  service = null;
  /** @type {Study[]} */
  studies = [];
  #list = find("studies", HTMLElement);
  #thumbnails = new Thumbnails();
  #round = 0;
  /** @type {Promise<void>} */
  #filesListed = Promise.resolve();

  /** @param {(error: unknown) => void} tell */
  constructor(tell) {
    this.tell = tell;
    find("more-files", HTMLButtonElement).addEventListener("click", () => this.#listFiles().catch(tell));
  }

  /**
   * Lists what a patient has.
   * @param {Service} service
   * @param {Promise<unknown>} [quiet]  until then nothing more than the list itself is asked for
   */
  async open(service, quiet = Promise.resolve()) {
    const round = (this.#round += 1);
    this.service = service;
    this.#thumbnails.open(service, quiet);
    /** @type {Dataset[]} */
    const series = [];
    for await (const page of service.pages("/series")) {
      if (round !== this.#round) return;
      series.push(...page);
    }
    if (round !== this.#round) return;
    this.studies = studiesOf(series);
    this.#list.replaceChildren(...this.studies.map((study, at) => this.#makeStudy(study, at < OPEN_STUDIES)));
    // Those without a place are looked for while the rest is there to be used already.
    this.#filesListed = quiet.then(() => this.#openFiles(round)).catch(this.tell);
  }

  /**
   * Marks what is shown, and unfolds its study.
   * @param {Place} place
   */
  mark(place) {
    for (const row of this.#list.querySelectorAll("[data-series]")) {
      const chosen = row instanceof HTMLElement && row.dataset.series === place.series && row.dataset.study === place.study;
      row.querySelector(".series")?.toggleAttribute("aria-current", chosen);
      if (chosen) {
        row.querySelector(".series")?.setAttribute("aria-current", "true");
        /** @type {HTMLDetailsElement | null} */ (row.closest("details.study"))?.toggleAttribute("open", true);
      }
    }
    for (const link of document.querySelectorAll("[data-instance]")) {
      const { instance } = /** @type {HTMLElement} */ (link).dataset;
      if (instance && (instance === place.instance || instance === place.file)) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  /**
   * Returns the first series of a study that may have pictures.
   * @param {string} uid
   */
  firstSeries(uid) {
    const study = this.studies.find((each) => each.uid === uid);
    return study ? textOf(study.series[0], "SeriesInstanceUID") : "";
  }

  /**
   * Returns what a study is called; nothing where it is not listed.
   * @param {string} uid
   */
  nameOfStudy(uid) {
    const study = this.studies.find((each) => each.uid === uid);
    return study ? textOf(study.series[0], "StudyDescription") || text.date(study.date) : "";
  }

  /**
   * Returns what a series is called; nothing where it is not listed.
   * @param {string} uid
   */
  nameOfSeries(uid) {
    const series = this.studies.flatMap((study) => study.series).find((each) => textOf(each, "SeriesInstanceUID") === uid);
    return series ? textOf(series, "SeriesDescription") || text.untitled(textOf(series, "SeriesNumber")) : "";
  }

  /**
   * Returns the place to begin with: the first series, else the first of the files without a place.
   * @returns {Promise<Partial<Place>>}
   */
  async first() {
    const [study] = this.studies;
    if (study) return { study: study.uid, series: textOf(study.series[0], "SeriesInstanceUID") };
    await this.#filesListed;
    const link = document.querySelector("#files [data-instance]");
    return link instanceof HTMLElement ? { file: link.dataset.instance } : {};
  }

  /**
   * @param {Study} study
   * @param {boolean} open
   */
  #makeStudy(study, open) {
    const [first] = study.series;
    const details = make("details", "study");
    details.open = open;
    const images = study.series.reduce((sum, series) => sum + (number(series, "NumberOfSeriesRelatedInstances") ?? 0), 0);
    const modalities = [...new Set(study.series.map((series) => textOf(series, "Modality")).filter(Boolean))];
    const summary = make(
      "summary", "",
      make("span", "when", text.date(study.date) || text.undated),
      named("what", textOf(first, "StudyDescription"), text.untitledStudy),
      make("span", "facts", [modalities.join(", "), text.ofStudy(study.series.length, images)].filter(Boolean).join(" · ")),
    );
    const rows = make("ul", "plain");
    details.append(summary, rows);
    // What is folded is made when it is opened: a patient may have hundreds of studies.
    const fill = () => {
      if (details.open && !rows.childElementCount) rows.append(...study.series.map((series) => this.#makeSeries(study, series)));
    };
    details.addEventListener("toggle", fill);
    fill();
    return details;
  }

  /**
   * @param {Study} study
   * @param {Dataset} series
   */
  #makeSeries(study, series) {
    const patient = this.service?.patient ?? "";
    const uid = textOf(series, "SeriesInstanceUID");
    const description = textOf(series, "SeriesDescription");
    const images = number(series, "NumberOfSeriesRelatedInstances") ?? 0;
    const row = make("li", "series-row");
    row.dataset.series = uid;
    row.dataset.study = study.uid;
    const seriesNumber = textOf(series, "SeriesNumber");
    const link = make(
      "a", "series",
      this.#thumbnails.make({ study: study.uid, series: uid }, textOf(series, "Modality")),
      make(
        "span", "words",
        named("name", description && [seriesNumber && `${seriesNumber}.`, description].filter(Boolean).join(" "), text.untitled(seriesNumber)),
        make("span", "facts", make("span", "badge", textOf(series, "Modality") || "?"), ` ${text.images(images)}`),
      ),
    );
    link.href = writeAddress({ patient, study: study.uid, series: uid });
    const unfold = makeButton("fold", "", () => this.#toggle(row, unfold, study.uid, uid).catch(this.tell));
    unfold.setAttribute("aria-label", text.unfold(description || text.untitled(seriesNumber)));
    unfold.setAttribute("aria-expanded", "false");
    row.append(link, unfold);
    return row;
  }

  /**
   * Unfolds the images of a series, or folds them.
   * @param {HTMLElement} row
   * @param {HTMLButtonElement} button
   * @param {string} study
   * @param {string} series
   */
  async #toggle(row, button, study, series) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    row.querySelector("ol")?.remove();
    const service = this.service;
    if (open || !service) return;
    const list = make("ol", "plain images");
    row.append(list);
    const path = `/studies/${encodeURIComponent(study)}/series/${encodeURIComponent(series)}/instances`;
    /** @type {Dataset[]} */
    const found = [];
    for await (const page of service.pages(path, new URLSearchParams({ includefield: INSTANCE_FIELDS }))) found.push(...page);
    found.sort((one, other) => (number(one, "InstanceNumber") ?? Infinity) - (number(other, "InstanceNumber") ?? Infinity));
    list.replaceChildren(...found.map((dataset) => this.#makeImage(study, series, dataset)));
  }

  /**
   * @param {string} study
   * @param {string} series
   * @param {Dataset} dataset
   */
  #makeImage(study, series, dataset) {
    const instance = textOf(dataset, "SOPInstanceUID");
    const frames = number(dataset, "NumberOfFrames") ?? 1;
    const [rows, columns] = [number(dataset, "Rows"), number(dataset, "Columns")];
    const facts = [rows && columns ? `${columns} × ${rows}` : "", frames > 1 ? text.framesOf(frames) : ""];
    const link = make(
      "a", "image",
      make("span", "", text.image(textOf(dataset, "InstanceNumber"))),
      make("span", "facts", facts.filter(Boolean).join(" · ")),
    );
    link.href = writeAddress({ patient: this.service?.patient ?? "", study, series, instance, frame: 1 });
    link.dataset.instance = instance;
    return make("li", "", link);
  }

  // --- files without a place in a study ---------------------------------------------------------------------------

  /** @type {AsyncGenerator<Summary[]> | null} */
  #files = null;

  /** @param {number} round */
  async #openFiles(round) {
    find("files-alone", HTMLElement).hidden = true;
    find("files", HTMLElement).replaceChildren();
    // A file without the UIDs has no such tag, or an empty one: each is asked for, and what has all three is passed over.
    this.#files = this.#filesAlone();
    find("no-files", HTMLElement).hidden = true;
    await this.#listFiles(round);
    if (round !== this.#round) return;
    find("no-files", HTMLElement).hidden = this.studies.length > 0 || !find("files-alone", HTMLElement).hidden;
  }

  async *#filesAlone() {
    const service = this.service;
    if (!service) return;
    const seen = new Set();
    for (const tag of ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]) {
      for (const value of ["!", '""']) {
        for await (const page of service.summaries(new URLSearchParams({ [tag]: value }))) {
          const fresh = page.filter(({ dicom_id: id }) => !seen.has(id) && seen.add(id));
          if (fresh.length) yield fresh;
        }
      }
    }
  }

  /** @param {number} [round] */
  async #listFiles(round = this.#round) {
    let isMore = true;
    for (let added = 0; isMore && added < FILES_AT_ONCE; ) {
      const next = await this.#files?.next();
      if (round !== this.#round) return;
      isMore = next !== undefined && !next.done;
      if (!next || next.done) break;
      find("files-alone", HTMLElement).hidden = false;
      find("files", HTMLElement).append(...next.value.map((summary) => this.#makeFile(summary)));
      added += next.value.length;
    }
    find("more-files", HTMLButtonElement).hidden = !isMore;
  }

  /** @param {Summary} summary */
  #makeFile(summary) {
    const facts = [text.moment(summary.received_at), text.bytes(summary.size)];
    if (summary.problems) facts.push(text.problems(summary.problems));
    if (summary.extraction.state === "pending") facts.push(text.pending);
    if (summary.extraction.state === "failed") facts.push(text.failed);
    const link = make("a", "image", make("span", "name", summary.file_name), make("span", "facts", facts.join(" · ")));
    link.href = writeAddress({ patient: this.service?.patient ?? "", file: summary.dicom_id, frame: 1 });
    link.dataset.instance = summary.dicom_id;
    return make("li", "", link);
  }
}

/** Small pictures, fetched when they come into sight, a few at a time. */
class Thumbnails {
  /** @type {Service | null} */
  #service = null;
  /** @type {(() => Promise<void>)[]} */
  #waiting = [];
  #running = 0;
  /** @type {Promise<unknown>} */
  #quiet = Promise.resolve();
  /** @type {WeakMap<Element, () => Promise<void>>} */
  #works = new WeakMap();
  #watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      const work = this.#works.get(target);
      if (!isIntersecting || !work) continue;
      this.#watch.unobserve(target);
      this.#waiting.push(work);
    }
    this.#quiet.then(() => this.#run());
  });

  /**
   * @param {Service} service
   * @param {Promise<unknown>} quiet  until then none is fetched
   */
  open(service, quiet) {
    this.#service = service;
    this.#waiting = [];
    this.#quiet = quiet;
  }

  /**
   * Makes the place of a picture.
   * @param {{study: string, series: string}} place
   * @param {string} modality  stands there until the picture comes, and where there is none
   */
  make(place, modality) {
    const box = make("span", "thumbnail", make("span", "", modality));
    box.setAttribute("aria-hidden", "true");
    const service = this.#service;
    if (service) {
      this.#works.set(box, async () => {
        const answer = await service.ask(`${service.place(place)}/thumbnail`, { accept: "image/jpeg" });
        const address = URL.createObjectURL(await answer.blob());
        const image = make("img");
        image.alt = "";
        image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
        image.src = address;
        box.append(image);
      });
      this.#watch.observe(box);
    }
    return box;
  }

  #run() {
    while (this.#running < THUMBNAILS_AT_ONCE && this.#waiting.length) {
      this.#running += 1;
      const work = /** @type {() => Promise<void>} */ (this.#waiting.shift());
      // A series without pictures has none; its row says what it is.
      work().catch(() => undefined).finally(() => {
        this.#running -= 1;
        this.#run();
      });
    }
  }
}

/**
 * Puts series together by their studies, the newest first.
 * @param {Dataset[]} series
 * @returns {Study[]}
 */
export function studiesOf(series) {
  /** @type {Map<string, Study>} */
  const studies = new Map();
  for (const each of series) {
    const uid = textOf(each, "StudyInstanceUID");
    const study = studies.get(uid) ?? { uid, date: "", series: [] };
    studies.set(uid, study);
    study.series.push(each);
    if (textOf(each, "StudyDate") > study.date) study.date = textOf(each, "StudyDate");
  }
  const found = [...studies.values()];
  for (const study of found) {
    study.series.sort((one, other) => (number(one, "SeriesNumber") ?? Infinity) - (number(other, "SeriesNumber") ?? Infinity));
  }
  return found.sort((one, other) => moment(other).localeCompare(moment(one)));
}

/**
 * Makes a name; where there is none, what is said instead looks like it.
 * @param {string} className
 * @param {string} name
 * @param {string} otherwise
 */
const named = (className, name, otherwise) => make("span", name ? className : `${className} untitled`, name || otherwise);

/** @param {Study} study */
const moment = (study) => `${study.date}${textOf(study.series[0], "StudyTime")}`;

