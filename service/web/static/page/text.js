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
  counted,
  moment: (/** @type {string} */ iso) => moments.format(new Date(iso)),
  number: (/** @type {number} */ value) => decimals.format(value),
  images: (/** @type {number} */ count) => counted(count, "image"),

  // asking
  gone: "There is no such image any more.",
  notReached: "The service could not be reached.",
  answered: (/** @type {number} */ status) => `The service answered ${status}.`,
  noParts: "The answer has no parts.",
  partCut: "The answer ends within a part.",
  pasteToken: "This service asks for a token. Paste one.",
  outerSpaces: "A patient id has no space at its beginning or its end. Take it away.",

  // the list
  untitledStudy: "No description",
  untitled: (/** @type {string} */ number) => (number ? `Series ${number}` : "Series"),
  undated: "No date",
  ofStudy: (/** @type {number} */ series, /** @type {number} */ images) =>
    `${counted(series, "series", "series")}, ${counted(images, "image")}`,
  unfold: (/** @type {string} */ series) => `Images of ${series}`,
  image: (/** @type {string} */ number) => (number ? `Image ${number}` : "Image"),
  framesOf: (/** @type {number} */ frames) => counted(frames, "frame"),
  problems: (/** @type {number} */ count) => counted(count, "problem"),
  pending: "not read yet",
  failed: "could not be read",

  // pictures
  noPixels: "This object has no pixels.",
  notGrey: "These pixels are not one sample each.",
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
  ages: Object.freeze({ Y: "year", M: "month", W: "week", D: "day" }),
  cutAt: (/** @type {number} */ at) => `The file is cut at byte ${wholes.format(at)}. What stood behind is lost.`,
  warningsOf: (/** @type {number} */ count) => `This file has ${counted(count, "problem")}`,
  notExtracted: "The file's tags could not be read",
  copied: "Copied",
  copyPath: "Copy path",
  copyAs: Object.freeze({ api: "For the API", search: "For a search", mongosh: "For mongosh" }),
  pinned: (/** @type {string} */ name) => `Compared with ${name}`,
  pinnedHint: "Now choose the other image. Only what differs is listed.",
  same: "These two say the same.",
  differ: (/** @type {number} */ count) => `${counted(count, "element")} ${count === 1 ? "differs" : "differ"}`,
  element: "Element",

  // searching
  noEquals: (/** @type {string} */ word) => `Write a value behind it: ${word || "Modality"}=…`,
  noName: "Write a tag before the equals sign.",
  seeAbove: "Nothing was searched: one of the conditions cannot be used.",
  refusedCondition: "This cannot be searched.",
  hits: (/** @type {number} */ count, /** @type {boolean} */ more) => (more ? `The first ${counted(count, "file")}` : counted(count, "file")),
  noHits: "Nothing fits. Take a condition away, or make it wider.",
  filesOf: (/** @type {number} */ count) => counted(count, "file"),
  fileName: "File",
  received: "Received",
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
  zipNames: Object.freeze({ series: "series.zip", study: "study.zip" }),
  discName: "disc.zip",
  hitsNames: Object.freeze({ csv: "hits.csv", parquet: "hits.parquet", disc: "disc.zip" }),

  // the help: what is pressed, and what it does
  keyGroups: Object.freeze({
    through: "Through the images", grey: "Grey values", size: "Size and place", elsewhere: "Elsewhere",
    mouse: "With mouse and fingers",
  }),
  keys: Object.freeze({
    next: ["↓ →", "Next image"],
    previous: ["↑ ←", "Image before"],
    tenOn: ["Page ↓", "Ten images on"],
    tenBack: ["Page ↑", "Ten images back"],
    first: ["Home", "First image"],
    last: ["End", "Last image"],
    play: ["Space", "Play, or stop"],
    brighter: ["Shift ↑", "Brighter"],
    darker: ["Shift ↓", "Darker"],
    wider: ["Shift →", "Wider window"],
    narrower: ["Shift ←", "Narrower window"],
    offered: ["1 … 9", "A window of the list"],
    invert: ["I", "Invert"],
    larger: ["+", "Larger"],
    smaller: ["−", "Smaller"],
    fit: ["0", "As large as fits"],
    actual: ["A", "Actual size: a pixel is a pixel"],
    move: ["Ctrl + arrows", "Move the picture"],
    reset: ["R", "As at first"],
    full: ["F", "Full screen"],
    texts: ["O", "Texts over the picture on or off"],
    search: ["/", "Search over files"],
    tags: ["T", "Search in the tags"],
    compare: ["C", "Compare the tags with another image's"],
    upload: ["U", "Upload"],
    help: ["?", "This help"],
  }),
  mouse: [
    ["Wheel", "Through the images"],
    ["Drag", "Window: across for its width, up and down for its center"],
    ["Shift drag, middle button", "Move"],
    ["Ctrl wheel, right button", "Zoom"],
    ["One finger", "Through the images"],
    ["Two fingers", "Zoom and move"],
  ],
});

/** What stands on the page from the beginning; index.html names each by its key. */
export const words = Object.freeze({
  patient: "Patient",
  patientHint: "p-17",
  token: "Token",
  tokenHint: "for this patient",
  open: "Open",
  upload: "Upload",
  chooseFiles: "Files or ZIPs …",
  chooseFolder: "A folder …",
  orDrop: "Or drop them anywhere on this page.",
  helpButton: "Help: keys and mouse",
  helpTitle: "Keys and mouse (?)",
  welcome: "Every file, every tag, every frame",
  welcomeMore: "Name a patient to upload their DICOM files, see the pictures and search all of the tags. The original bytes are kept as they are, and nobody sees them without a token for that patient.",
  apiLink: "The API, for programs",
  searchFiles: "Search over files",
  searchHint: "Modality=CT SliceThickness=..2 PatientName=mül*",
  whatFits: "What fits",
  search: "Search",
  conditions: "Conditions",
  studies: "Studies",
  noFiles: "There are no files yet. Drop some here, or choose Upload.",
  withoutPlace: "Files without a place in a study",
  withoutPlaceHint: "They lack a UID of their study, series or image, so no study can hold them.",
  showMore: "Show more",
  picture: "Picture",
  nothingChosen: "Choose a series to see its pictures.",
  dragging: "What dragging does",
  dragWindow: "Drag: window",
  dragScroll: "Drag: through the images",
  dragMove: "Drag: move",
  dragZoom: "Drag: zoom",
  windowLabel: "Window",
  size: "Size",
  fit: "As large as fits",
  fitTitle: "As large as fits (0)",
  actual: "1:1, actual size",
  actualTitle: "Actual size (A)",
  show: "Show",
  invert: "Invert",
  invertTitle: "Invert (I)",
  texts: "Texts over the picture",
  textsTitle: "Texts over the picture (O)",
  reset: "As at first",
  resetTitle: "As at first (R)",
  full: "Full screen",
  fullTitle: "Full screen (F)",
  more: "Download or delete",
  downloadImage: "Download this image",
  downloadSeries: "Download the series as a ZIP",
  downloadStudy: "Download the study as a ZIP",
  discSeries: "Download the series for a disc (DICOMDIR)",
  discStudy: "Download the study for a disc (DICOMDIR)",
  deleteImage: "Delete this image …",
  deleteSeries: "Delete the series …",
  deleteStudy: "Delete the study …",
  stage: "Picture. The question mark lists the keys.",
  previous: "Image before",
  previousTitle: "Image before (↑)",
  slice: "Image",
  next: "Next image",
  nextTitle: "Next image (↓)",
  play: "Play",
  playTitle: "Play (Space)",
  rate: "Images a second",
  perSecond: "/s",
  tags: "Tags",
  pin: "Compare with …",
  pinTitle: "Compare with another image (C)",
  unpin: "End",
  tagHint: "0018,0050, a word, a value",
  searchTags: "Search in the tags",
  elements: "Elements",
  hits: "Hits",
  addColumn: "Add a column",
  copySearch: "Copy this search",
  copyLink: "Copy link",
  copyCurl: "curl",
  copyMongosh: "mongosh",
  download: "Download",
  downloadCsv: "All hits as CSV",
  downloadParquet: "All hits as Parquet",
  downloadDisc: "The files for a disc (DICOMDIR)",
  back: "Back",
  cancel: "Cancel",
  close: "Close",
  outcomes: "What became of each file",
  file: "File",
  outcome: "Outcome",
  why: "Why",
  saveTable: "Save as a table",
  drop: "Drop files, folders or ZIPs to upload them",
  keys: "Keys and mouse",
  keep: "Keep",
  deleteForGood: "Delete for good",
});
