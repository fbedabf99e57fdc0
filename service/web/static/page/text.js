// Everything that the page says, in one place, and how it writes numbers, sizes and times.

const LANGUAGE = document.documentElement.lang || "en";
const wholes = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 0 });
const decimals = new Intl.NumberFormat(LANGUAGE, { maximumSignificantDigits: 6 });
const days = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeZone: "UTC" });
const moments = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
const counted = (count, one, many = `${one}s`) => `${wholes.format(count)} ${count === 1 ? one : many}`;

/** @param {number} count */
function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = count / 1024;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

/**
 * Writes a DA for people; what is no date stays as it is.
 * @param {string} da
 */
function date(da) {
  const match = /^(\d{4})[.\-/]?(\d\d)[.\-/]?(\d\d)$/.exec(da);
  const day = match ? new Date(`${match[1]}-${match[2]}-${match[3]}T00:00:00Z`) : null;
  return day && !Number.isNaN(day.getTime()) ? days.format(day) : da;
}

/**
 * Writes a TM for people.
 * @param {string} tm
 */
function time(tm) {
  const match = /^(\d\d):?(\d\d)?:?(\d\d)?(\.\d+)?$/.exec(tm.trim());
  return match ? [match[1], match[2] ?? "00", match[3]].filter(Boolean).join(":") : tm;
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 60) return counted(Math.max(1, Math.round(seconds)), "second");
  if (seconds < 5400) return counted(Math.round(seconds / 60), "minute");
  return counted(Math.round(seconds / 3600), "hour");
}

export const text = Object.freeze({
  bytes,
  date,
  time,
  duration,
  counted,
  moment: (/** @type {string} */ iso) => moments.format(new Date(iso)),
  number: (/** @type {number} */ value) => decimals.format(value),
  images: (/** @type {number} */ count) => counted(count, "image"),

  // asking
  gone: "There is no such image any more.",
  notReached: "The service could not be reached.",
  answered: (/** @type {number} */ status) => `The service answered ${status}.`,
  pasteToken: "This service asks for a token. Paste one.",
  outerSpaces: "A patient id has no space at its beginning or its end. Take it away.",

  // the list
  noFiles: "There are no files yet. Drop some here, or choose them.",
  untitledStudy: "No description",
  untitled: (/** @type {string} */ number) => (number ? `Series ${number}` : "Series"),
  undated: "No date",
  ofStudy: (/** @type {number} */ series, /** @type {number} */ images) =>
    `${counted(series, "series", "series")}, ${counted(images, "image")}`,
  unfold: (/** @type {string} */ series) => `Images of ${series}`,
  image: (/** @type {string} */ number) => (number ? `Image ${number}` : "Image"),
  framesOf: (/** @type {number} */ frames) => counted(frames, "frame"),
  withoutPlace: "Files without a place in a study",
  withoutPlaceHint: "They lack a UID of their study, series or image, so no study can hold them.",
  showMore: "Show more",
  problems: (/** @type {number} */ count) => counted(count, "problem"),
  pending: "not read yet",
  failed: "could not be read",

  // pictures
  noPixels: "This object has no pixels.",
  notGrey: "These pixels are not one sample each.",
  nothingChosen: "Choose a series to see its pictures.",
  loading: "Loading …",
  emptySeries: "There is nothing in this series any more.",
  sliceOf: (/** @type {number} */ at, /** @type {number} */ count) => `Image ${at} of ${count}`,
  frameOf: (/** @type {number} */ at, /** @type {number} */ count) => `Frame ${at} of ${count}`,
  ofCount: (/** @type {number} */ at, /** @type {number} */ count) => `${at} / ${count}`,
  window: (/** @type {number} */ center, /** @type {number} */ width) =>
    `C ${decimals.format(center)}  W ${decimals.format(width)}`,
  zoom: (/** @type {number} */ scale) => `${wholes.format(scale * 100)} %`,
  length: (/** @type {number} */ millimetres) =>
    millimetres >= 10 ? `${decimals.format(millimetres / 10)} cm` : `${decimals.format(millimetres)} mm`,
  atDetector: "at the detector",
  ofFile: "From the file",
  ofModality: (/** @type {string} */ modality) => `For ${modality}`,
  ofPicture: "From the picture",
  wholeRange: "Whole range",
  middle: "Without extremes",
  byHand: "By hand",
  numbered: (/** @type {number} */ number) => `Window ${number}`,
  table: (/** @type {number} */ number) => `Table ${number}`,
  presets: Object.freeze({
    softTissue: "Soft tissue", lung: "Lung", bone: "Bone", brain: "Brain", liver: "Liver", vessels: "Vessels",
  }),

  // tags
  elements: (/** @type {number} */ count) => counted(count, "element"),
  elementsOf: (/** @type {number} */ found, /** @type {number} */ all) => `${found} of ${counted(all, "element")}`,
  firstShown: (/** @type {number} */ count) => `the first ${count} are shown`,
  itemsOf: (/** @type {number} */ count) => counted(count, "item"),
  item: (/** @type {number} */ number) => `Item ${number}`,
  ofData: (/** @type {number} */ length) => `${bytes(length)} of data`,
  empty: "empty",
  absent: "not there",
  inOriginal: "too large for the database; it is in the file",
  years: (/** @type {number} */ count) => counted(count, "year"),
  ages: Object.freeze({ Y: "year", M: "month", W: "week", D: "day" }),
  cutAt: (/** @type {number} */ at) => `The file is cut at byte ${wholes.format(at)}. What stood behind is lost.`,
  warningsOf: (/** @type {number} */ count) => `This file has ${counted(count, "problem")}`,
  notExtracted: "The file's tags could not be read",
  copied: "Copied",
  copyPath: "Copy path",
  copyAs: Object.freeze({ api: "For the API", search: "For a search", mongosh: "For mongosh" }),
  pin: "Compare with …",
  pinned: (/** @type {string} */ name) => `Compared with ${name}`,
  pinnedHint: "Now choose the other image. Only what differs is listed.",
  same: "These two say the same.",
  differ: (/** @type {number} */ count) => `${counted(count, "element")} ${count === 1 ? "differs" : "differ"}`,
  element: "Element",

  // searching
  searchHint: "Modality=CT SliceThickness=..2 PatientName=mül*",
  noEquals: (/** @type {string} */ word) => `Write a value behind it: ${word || "Modality"}=…`,
  noName: "Write a tag before the equals sign.",
  seeAbove: "Nothing was searched: one of the conditions cannot be used.",
  refusedCondition: "This cannot be searched.",
  hits: (/** @type {number} */ count, /** @type {boolean} */ more) => (more ? `The first ${counted(count, "file")}` : counted(count, "file")),
  noHits: "Nothing fits. Take a condition away, or make it wider.",
  filesOf: (/** @type {number} */ count) => counted(count, "file"),
  fileName: "File",
  received: "Received",
  addColumn: "Add a column",
  removeColumn: (/** @type {string} */ name) => `Remove the column ${name}`,
  removeCondition: (/** @type {string} */ name) => `Remove ${name}`,
  notTranslated: (/** @type {string} */ name) => `# ${name} is not among this patient's tags`,
  sortBy: (/** @type {string} */ name) => `Sort by ${name}`,

  // uploads
  uploading: (/** @type {number} */ done, /** @type {number} */ all) => `${done} of ${counted(all, "file")}`,
  bytesOf: (/** @type {number} */ done, /** @type {number} */ all) => `${bytes(done)} of ${bytes(all)}`,
  left: (/** @type {number} */ seconds) => `${duration(seconds)} left`,
  unpacked: (/** @type {number} */ count) => `${counted(count, "file")} unpacked`,
  outcomes: Object.freeze({
    stored: "Stored", there: "Already there", refused: "Refused", cancelled: "Not sent", skipped: "Left out",
    incomplete: "Not complete", waiting: "", sending: "",
  }),
  isDirectory: "The directory of a disc. It is made anew for each download as a disc.",
  isNotDicom: "It is no DICOM file.",
  unpackedStays: "What was unpacked by then stays.",
  brokenOff: "The connection broke off. Send the ZIP again: what is there already stays as it is.",
  withWarning: "Stored, with a warning",
  otherPatient: (/** @type {string} */ name) => `Names another patient than the rest: ${name}`,
  otherPatients: (/** @type {number} */ count, /** @type {string} */ name) =>
    `${counted(count, "file")} ${count === 1 ? "names" : "name"} another patient than the rest, who is ${name}. Look before you keep them.`,
  summary: (/** @type {Record<string, number>} */ counts) =>
    [
      counts.stored && `${wholes.format(counts.stored)} stored`,
      counts.there && `${wholes.format(counts.there)} already there`,
      counts.refused && `${wholes.format(counts.refused)} refused`,
      counts.incomplete && `${counted(counts.incomplete, "ZIP")} not complete`,
      counts.cancelled && `${wholes.format(counts.cancelled)} not sent`,
      counts.skipped && `${wholes.format(counts.skipped)} left out`,
    ].filter(Boolean).join(", ") || "Nothing was sent",
  nothingToUpload: "There are no files in there.",
  tableName: "upload.csv",
  tableHead: ["file", "bytes", "outcome", "reason", "dicom_id"],

  // deleting and downloading
  deleteTitle: (/** @type {string} */ what) => `Delete ${what}?`,
  deleteMeaning: (/** @type {number} */ count) =>
    `${counted(count, "file")} will be removed for good: the original bytes, the tags and the pictures. Nothing of it can be brought back, and a copy that somebody downloaded stays with them.`,
  deleting: (/** @type {number} */ done, /** @type {number} */ all) => `Deleting ${done} of ${all} …`,
  deleted: (/** @type {number} */ count) => `${counted(count, "file")} deleted.`,
  thisImage: "this image",
  thisSeries: "this series",
  thisStudy: "this study",
  thisFile: "this file",
  downloading: "Downloading …",
});
