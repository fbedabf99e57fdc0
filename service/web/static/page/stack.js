// The pictures of a series in the order in which one scrolls through them.

import { DICOM_JSON } from "./api.js";
import { number, TAGS, textOf, whole } from "./dicomjson.js";
import { positionsOf } from "./geometry.js";
import { readHeader, readShading } from "./pixels.js";

/**
 * @typedef {import("./dicomjson.js").Dataset} Dataset
 * @typedef {{study: string, series: string, instance: string}} Uids
 */

/** What a search has to bring so that a picture of one frame can be drawn without asking again. */
const FIELDS = [
  "InstanceNumber", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation",
  "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPresentation",
  "ImagePositionPatient", "ImageOrientationPatient", "PatientOrientation", "PixelSpacing", "ImagerPixelSpacing",
  "NominalScannedPixelSpacing", "PixelAspectRatio", "SequenceOfUltrasoundRegions",
  "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence",
  "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence",
  "PresentationLUTSequence", "PresentationLUTShape", "Units", "RedPaletteColorLookupTableDescriptor",
  "FrameTime", "CineRate", "RecommendedDisplayFrameRate", "FloatPixelData", "DoubleFloatPixelData",
  "Modality", "StudyDate", "StudyTime", "StudyDescription", "SeriesDescription", "SeriesNumber",
  "PatientName", "PatientID",
];

/** One picture: a frame of an instance. */
export class Slice {
  /** @type {Promise<Dataset> | null} */
  #whole = null;
  /** @type {Promise<import("./pixels.js").Shading> | null} */
  #shading = null;

  /**
   * @param {import("./api.js").Service} service
   * @param {Uids | null} place
   * @param {string} file  its dicom_id, where it has no place
   * @param {Dataset} known  as much of its dataset as a search brought
   * @param {number} frame  from 1
   */
  constructor(service, place, file, known, frame) {
    this.service = service;
    this.place = place;
    this.file = file;
    this.known = known;
    this.frame = frame;
    this.frames = Math.max(1, whole(known, "NumberOfFrames") ?? 1);
    this.dataset = known;
    /** @type {Slice} the first slice of the same instance, which fetches for all of them */
    this.first = this;
  }

  /**
   * Returns the dataset: of several frames whole, because what rules each lies deep within it.
   * @returns {Promise<Dataset>}
   */
  async load() {
    if (this.frames === 1 || !this.place) return this.known;
    if (this.first !== this) {
      this.dataset = await this.first.load();
    } else {
      this.#whole ??= this.service.json(`${this.service.place(this.place)}/metadata`, { accept: DICOM_JSON })
        .then(([dataset]) => dataset);
      this.dataset = await this.#whole;
    }
    return this.dataset;
  }

  /** Returns the description of its pixels. */
  async header() {
    return readHeader(await this.load());
  }

  /** Returns what turns its stored values into grey. */
  shading() {
    this.#shading ??= this.load().then((dataset) =>
      readShading(dataset, this.frame, async (element) => {
        const { pathname } = new URL(element.BulkDataURI ?? "", location.href);
        return (await this.service.ask(pathname, { accept: "application/octet-stream" })).arrayBuffer();
      }));
    return this.#shading;
  }

  /**
   * Returns where the service renders it.
   * @param {[number, number] | null} [window_]  center and width
   */
  pictureAddress(window_ = null) {
    if (this.place) return `${this.service.place(this.place)}/frames/${this.frame}/rendered`;
    const query = new URLSearchParams({ frame: String(this.frame) });
    if (window_) query.set("window", window_.join(","));
    return `${this.service.file(this.file)}?${query}`;
  }
}

/**
 * Returns the query that brings what slices need.
 * @returns {URLSearchParams}
 */
const fieldsQuery = () => new URLSearchParams({ includefield: FIELDS.join(",") });

/**
 * Reads the slices of a series.
 * @param {import("./api.js").Service} service
 * @param {{study: string, series: string}} place
 * @param {AbortSignal} signal
 * @returns {Promise<Slice[]>}
 */
export async function readSeries(service, { study, series }, signal) {
  const path = `/studies/${encodeURIComponent(study)}/series/${encodeURIComponent(series)}/instances`;
  /** @type {Dataset[]} */
  const datasets = [];
  for await (const page of service.pages(path, fieldsQuery(), signal)) datasets.push(...page);
  return inOrder(datasets).flatMap((dataset) => slicesOf(service, study, series, dataset));
}

/**
 * Reads the slices of one instance, which can be shown before the rest of the series is known.
 * @param {import("./api.js").Service} service
 * @param {{study: string, series: string, instance: string}} place  without an instance: any of the series
 * @param {AbortSignal} signal
 */
export async function readInstance(service, { study, series, instance }, signal) {
  const query = fieldsQuery();
  query.set("limit", "1");
  if (instance) query.set("SOPInstanceUID", instance);
  const [dataset] = await service.json(`${service.place({ study, series })}/instances?${query}`, { accept: DICOM_JSON, signal });
  return dataset ? slicesOf(service, study, series, dataset) : [];
}

/**
 * Reads the slices of a file that has no place in a study.
 * @param {import("./api.js").Service} service
 * @param {string} file
 * @param {AbortSignal} signal
 */
export async function readFile(service, file, signal) {
  const [dataset] = await service.json(`${service.file(file)}/tags`, { accept: DICOM_JSON, signal });
  const frames = Math.max(1, whole(dataset, "NumberOfFrames") ?? 1);
  return Array.from({ length: Math.min(frames, 100_000) }, (_, at) => new Slice(service, null, file, dataset, at + 1));
}

/**
 * Sorts instances: by their position along the normal, where they are slices of one stack, else by their numbers.
 * @param {Dataset[]} datasets
 */
export function inOrder(datasets) {
  const positions = datasets.length > 1 ? positionsOf(datasets) : null;
  return datasets
    .map((dataset, at) => ({
      dataset,
      position: positions ? positions[at] : 0,
      number: number(dataset, "InstanceNumber") ?? Infinity,
      uid: textOf(dataset, "SOPInstanceUID"),
    }))
    .sort((one, other) => one.position - other.position || compare(one.number, other.number) || compare(one.uid, other.uid))
    .map(({ dataset }) => dataset);
}

/**
 * @param {import("./api.js").Service} service
 * @param {string} study
 * @param {string} series
 * @param {Dataset} dataset
 */
function slicesOf(service, study, series, dataset) {
  const place = { study, series, instance: dataset[TAGS.SOPInstanceUID]?.Value?.[0] ?? "" };
  const frames = Math.max(1, whole(dataset, "NumberOfFrames") ?? 1);
  const slices = Array.from(
    { length: Math.min(frames, 100_000) },
    (_, at) => new Slice(service, place, "", dataset, at + 1),
  );
  for (const slice of slices) slice.first = slices[0];
  return slices;
}

/**
 * @template {number | string} T
 * @param {T} one
 * @param {T} other
 */
const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
