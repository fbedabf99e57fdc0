// Everything that the page says, in one place, and how it writes numbers, sizes and times.

const LANGUAGE = document.documentElement.lang || "en";
const wholes = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 0 });
const decimals = new Intl.NumberFormat(LANGUAGE, { maximumSignificantDigits: 6 });
const days = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeZone: "UTC" });
const hours = new Intl.DateTimeFormat(LANGUAGE, { timeStyle: "short" });
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

/** @param {number} count */
const times = (count) => (count === 1 ? "once" : count === 2 ? "twice" : `${wholes.format(count)} times`);

/**
 * Names what is shared by its names, or by how many there are.
 * @param {string} one
 * @param {string} many
 * @param {string[]} names  empty where a name is not known
 */
function listOf(one, many, names) {
  if (names.length === 1) return names[0] ? `${one}: ${names[0]}` : one;
  return `${wholes.format(names.length)} ${many}${names.every(Boolean) ? `: ${names.join(", ")}` : ""}`;
}

const LEVELS = Object.freeze({ study: "the study", series: "the series", image: "one image of the series", file: "the file" });

/**
 * What an action of the audit is called.
 * @type {Readonly<Record<string, string>>}
 */
const ACTIONS = Object.freeze({
  share: "Made", revoke_share: "Revoked", close_share: "Closed after ten wrong passcodes", open_share: "Opened",
  try_passcode: "Wrong passcode", upload: "Files sent", accept_files: "Accepted", decline_files: "Declined",
  search: "Looked at the list", read_catalogue: "Looked at the list", read_document: "Looked at the list",
  read_instance: "Looked at the list", read_picture: "Looked at pictures", read_frames: "Looked at pictures",
  read_tags: "Looked at tags", read_tag: "Looked at tags", read_bulk_data: "Looked at data", read_original: "Downloaded files",
});

export const text = Object.freeze({
  bytes,
  date,
  time,
  counted,
  hour: (/** @type {number} */ milliseconds) => hours.format(new Date(milliseconds)),
  moment: (/** @type {string} */ iso) => moments.format(new Date(iso)),
  number: (/** @type {number} */ value) => decimals.format(value),
  images: (/** @type {number} */ count) => counted(count, "image"),

  // asking
  gone: "This image is no longer there.",
  notReached: "The service could not be reached.",
  answered: (/** @type {number} */ status) => `The service answered ${status}.`,
  noParts: "The answer has no parts.",
  partCut: "The answer ends within a part.",
  pasteToken: "This service needs a token for that patient. Paste it.",
  outerSpaces: "A patient id cannot begin or end with a space. Remove it.",

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
  noPixels: "This file has no picture. Its tags say what it holds.",
  notGrey: "These pixels are not one sample each.",
  loading: "Loading …",
  emptySeries: "This series is empty now.",
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
  cutAt: (/** @type {number} */ at) => `The file is cut off at byte ${wholes.format(at)}. What came after that is missing.`,
  warningsOf: (/** @type {number} */ count) => `This file has ${counted(count, "problem")}`,
  notExtracted: "The file's tags could not be read",
  copied: "Copied",
  copyPath: "Copy path",
  copyAs: Object.freeze({ api: "For the API", search: "For a search", mongosh: "For mongosh" }),
  pinned: (/** @type {string} */ name) => `Compared with ${name}`,
  pinnedHint: "Now choose the other image. Only what differs is listed.",
  same: "The tags of these two are the same.",
  differ: (/** @type {number} */ count) => `${counted(count, "element")} ${count === 1 ? "differs" : "differ"}`,
  element: "Element",

  // searching
  noEquals: (/** @type {string} */ word) => `Write a value after it: ${word || "Modality"}=…`,
  noName: "Write a tag before the equals sign.",
  seeAbove: "Nothing was searched: one of the conditions cannot be used.",
  refusedCondition: "This cannot be searched.",
  hits: (/** @type {number} */ count, /** @type {boolean} */ more) => (more ? `The first ${counted(count, "file")}` : counted(count, "file")),
  noHits: "Nothing matches. Remove a condition, or make one wider.",
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
    incomplete: "Not complete", sent: "Sent", waiting: "", sending: "",
  }),
  isDirectory: "The directory of a disc. It is made anew for each download as a disc.",
  isNotDicom: "It is not a DICOM file.",
  unpackedStays: "What was unpacked by then stays.",
  brokenOff: "The connection was lost. Send the ZIP again: what is there already stays as it is.",
  withWarning: "Stored, with a warning",
  sentWithWarning: "Sent, with a warning",
  otherPatient: (/** @type {string} */ name) => `Names a different patient from the rest: ${name}`,
  otherPatients: (/** @type {number} */ count, /** @type {string} */ name) =>
    `${counted(count, "file")} ${count === 1 ? "names" : "name"} a different patient from the rest, who is ${name}. Check before you keep ${count === 1 ? "it" : "them"}.`,
  summary: (/** @type {Record<string, number>} */ counts) =>
    [
      counts.stored && `${wholes.format(counts.stored)} stored`,
      counts.sent && `${wholes.format(counts.sent)} sent`,
      counts.there && `${wholes.format(counts.there)} already there`,
      counts.refused && `${wholes.format(counts.refused)} refused`,
      counts.incomplete && `${counted(counts.incomplete, "ZIP")} not complete`,
      counts.cancelled && `${wholes.format(counts.cancelled)} not sent`,
      counts.skipped && `${wholes.format(counts.skipped)} left out`,
    ].filter(Boolean).join(", ") || "Nothing was sent",
  nothingToUpload: "There are no files in there.",
  stillUploading: (/** @type {string} */ patient) => `Files are still being uploaded for ${patient}. Wait until that is done, or cancel it.`,
  tableName: "upload.csv",
  tableHead: ["file", "bytes", "outcome", "reason", "dicom_id"],

  // deleting and downloading
  deleteTitle: (/** @type {string} */ what) => `Delete ${what}?`,
  deleteMeaning: (/** @type {number} */ count) =>
    `${counted(count, "file")} will be removed for good: the original bytes, the tags and the pictures. This cannot be undone. Copies that somebody downloaded stay with them.`,
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

  deleteForGood: "Delete for good",

  // making a link
  sharing: Object.freeze({
    titles: Object.freeze({ study: "Share this study", series: "Share this series", image: "Share this image", file: "Share this file" }),
    askTitle: "Ask for images",
    notAllowed: "Your token does not allow sharing. Ask whoever gave it to you for one that does (dicom:share).",
    meaning: (/** @type {{level: keyof typeof LEVELS, name: string, until: string, passcode: boolean, download: boolean, opens: number}} */ {
      level, name, until, passcode, download, opens,
    }) =>
      [
        `Whoever has the link sees ${LEVELS[level]}${name ? ` “${name}”` : ""} until ${until}: the pictures and all tags, the patient's name among them.`,
        level === "study" || level === "series" ? "They also see what you add to it later." : "",
        download ? "They may download the files." : "They cannot download the files.",
        passcode ? "They need the passcode." : "",
        opens > 0 ? `The link can be opened ${times(opens)}.` : "",
      ].filter(Boolean).join(" "),
    inboxMeaning: (/** @type {{until: string, passcode: boolean, files: number, size: number}} */ { until, passcode, files, size }) =>
      [
        `Whoever has the link can send up to ${counted(files, "file")}, ${bytes(size)} in all, until ${until}.`,
        "They see nothing of what is here. What they send waits until you accept it.",
        passcode ? "They need the passcode." : "",
      ].filter(Boolean).join(" "),
    made: "Here is the link",
    next: (/** @type {string} */ until, /** @type {boolean} */ passcode) =>
      [
        "It is shown only this once. Copy it, or let somebody scan the picture.",
        passcode ? "Send the passcode some other way than the link." : "",
        `It works until ${until}. You can end it at any time under “Shares”.`,
      ].filter(Boolean).join(" "),
  }),

  // links that were given away
  shares: Object.freeze({
    studies: (/** @type {string[]} */ names) => listOf("Study", "studies", names),
    series: (/** @type {string[]} */ names) => listOf("Series", "series", names),
    inbox: "Request for images",
    states: Object.freeze({
      open: "Open", "used-up": "Opened as often as allowed", expired: "Ended", revoked: "Revoked", closed: "Closed: ten wrong passcodes",
    }),
    until: (/** @type {string} */ moment) => `until ${moment}`,
    look: "view only",
    download: "view and download",
    passcode: "with a passcode",
    noPasscode: "without a passcode",
    wrong: (/** @type {number} */ count) => counted(count, "wrong passcode"),
    came: (/** @type {number} */ files, /** @type {number} */ most, /** @type {number} */ size) =>
      `${wholes.format(files)} of ${counted(most, "file")} received, ${bytes(size)}`,
    opened: (/** @type {number} */ count, /** @type {number | null} */ most, /** @type {string} */ last) =>
      `Opened ${most === null ? times(count) : `${wholes.format(count)} of ${times(most)}`}, last ${last}`,
    neverOpened: (/** @type {number | null} */ most) => `Not opened yet${most === null ? "" : `; it can be opened ${times(most)}`}`,
    made: (/** @type {string} */ moment, /** @type {string} */ by) => `Made ${moment}${by ? ` by ${by}` : ""}`,
    revoke: "Revoke …",
    revokeTitle: (/** @type {string} */ name) => `Revoke “${name}”?`,
    revokeMeaning: "The link stops working at once, also for whoever is looking now. What somebody downloaded stays with them.",
    revokeNow: "Revoke",
    uses: "History",
    unused: "Nobody has used it yet.",
    use: (/** @type {{action: string, outcome: string, by: string, instances: number}} */ { action, outcome, by, instances }, /** @type {number} */ count) =>
      [
        ACTIONS[action] ?? action.replaceAll("_", " "),
        instances && (action === "upload" || action.endsWith("_files")) ? `(${counted(instances, "file")})` : "",
        outcome === "denied" && action !== "try_passcode" ? "– refused" : outcome === "failed" ? "– failed" : "",
        by === "operator" ? "– by an operator" : by === "token" ? "– by you, or with your token" : "",
        count > 1 ? `– ${times(count)}` : "",
      ].filter(Boolean).join(" "),
    whatCame: "Files received",
    answered: (/** @type {number} */ waiting, /** @type {number} */ accepted, /** @type {number} */ declined) =>
      [
        waiting ? `${counted(waiting, "file")} ${waiting === 1 ? "waits" : "wait"} for you to accept or decline ${waiting === 1 ? "it" : "them"}` : "No file is waiting",
        accepted && `${wholes.format(accepted)} accepted`,
        declined && `${wholes.format(declined)} declined`,
      ].filter(Boolean).join(", "),
    accept: "Accept",
    decline: "Decline",
    acceptThese: (/** @type {number} */ count) => `Accept these ${wholes.format(count)}`,
    declineThese: (/** @type {number} */ count) => `Decline these ${wholes.format(count)}`,
    acceptAll: "Accept all",
    declineAll: "Decline all",
    lookAt: (/** @type {string} */ name) => `Look at ${name}`,
    answering: (/** @type {boolean} */ decline, /** @type {number} */ left) =>
      `${decline ? "Declining" : "Accepting"}: ${counted(left, "file")} left …`,
    declineTitle: (/** @type {number} */ count) => `Decline ${counted(count, "file")}?`,
    declineMeaning: "What you decline is deleted for good. The sender is not told.",
  }),

  // whoever comes by a link: a title, and a sentence
  guest: Object.freeze({
    opening: ["Opening the link …"],
    asksPasscode: ["This link asks for a passcode", "Whoever sent you the link knows it."],
    wrongPasscode: "That is not the passcode. After ten wrong ones the link closes for good.",
    opensNothing: ["This link does not work", "It has ended, was revoked, was opened as often as allowed, or a part of it is missing. Ask whoever sent it for a new one."],
    noLink: ["Open the link that you were sent", "Without it there is nothing to see here."],
    ended: ["Your visit has ended", "A visit lasts an hour at most, and it ends with the link."],
    endedWithoutLink: ["Your visit has ended", "A visit lasts an hour at most, and it ends with the link. Open the link again."],
    notOpened: "The link could not be opened",
    sees: (/** @type {boolean} */ download, /** @type {string} */ until) =>
      `These images were shared with you. You can look at them${download ? " and download them" : ", but not download them"}. Your visit ends at ${until}.`,
    sends: (/** @type {number} */ files, /** @type {number} */ size) =>
      `Files go to whoever sent you the link, who decides whether to keep them. You see nothing of what they have. The link takes up to ${counted(files, "file")}, ${bytes(size)} in all.`,
  }),

  // the help: what is pressed, and what it does
  keyGroups: Object.freeze({
    through: "Through the images", grey: "Grey values", size: "Size and place", elsewhere: "Elsewhere",
    mouse: "With mouse and fingers",
  }),
  keys: Object.freeze({
    next: ["↓ →", "Next image"],
    previous: ["↑ ←", "Previous image"],
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
    fit: ["0", "Fit to the window"],
    actual: ["A", "Actual size: one image pixel on one screen pixel"],
    move: ["Ctrl + arrows", "Move the picture"],
    reset: ["R", "Reset the view"],
    full: ["F", "Full screen"],
    texts: ["O", "Show or hide the text over the picture"],
    search: ["/", "Search all files"],
    tags: ["T", "Search in the tags"],
    compare: ["C", "Compare the tags with another image's"],
    upload: ["U", "Upload"],
    help: ["?", "This help"],
  }),
  mouse: [
    ["Wheel", "Through the images"],
    ["Drag", "Window: across for its width, up and down for its center"],
    ["Shift drag", "middle button", "Move"],
    ["Ctrl wheel", "right button", "Zoom"],
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
  welcomeMore: "Enter a patient id at the top to upload that patient's DICOM files, see the pictures and search all of the tags. The files are kept unchanged, and nobody sees them without a token for that patient, or a link that was shared.",
  apiLink: "The API, for programs",
  searchFiles: "Search all files",
  searchHint: "Modality=CT SliceThickness=..2 PatientName=mül*",
  whatFits: "Suggestions",
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
  fit: "Fit to the window",
  fitTitle: "Fit to the window (0)",
  actual: "1:1, actual size",
  actualTitle: "Actual size (A)",
  show: "Show",
  invert: "Invert",
  invertTitle: "Invert (I)",
  texts: "Text over the picture",
  textsTitle: "Text over the picture (O)",
  reset: "Reset the view",
  resetTitle: "Reset the view (R)",
  full: "Full screen",
  fullTitle: "Full screen (F)",
  more: "Download or delete",
  share: "Share",
  shareImage: "Share this image …",
  shareSeries: "Share the series …",
  shareStudy: "Share the study …",
  downloadImage: "Download this image",
  downloadSeries: "Download the series as a ZIP",
  downloadStudy: "Download the study as a ZIP",
  discSeries: "Download the series for a disc (DICOMDIR)",
  discStudy: "Download the study for a disc (DICOMDIR)",
  deleteImage: "Delete this image …",
  deleteSeries: "Delete the series …",
  deleteStudy: "Delete the study …",
  stage: "Picture. The question mark lists the keys.",
  previous: "Previous image",
  previousTitle: "Previous image (↑)",
  slice: "Image",
  next: "Next image",
  nextTitle: "Next image (↓)",
  play: "Play",
  playTitle: "Play (Space)",
  rate: "Images per second",
  perSecond: "/s",
  tags: "Tags",
  pin: "Compare with …",
  pinTitle: "Compare with another image (C)",
  unpin: "Stop",
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
  shares: "Shares",
  noShares: "Nothing is shared. Open a picture and choose “Share”, or ask somebody for images.",
  askForImages: "Ask for images …",
  howLong: "How long the link works",
  oneDay: "A day",
  oneWeek: "A week",
  oneMonth: "30 days",
  untilDate: "Until",
  lastDay: "Last day",
  uploads: "How much may be sent",
  whoOpens: "Who may open it",
  askPasscode: "Ask for a passcode",
  passcode: "Passcode",
  passcodeHint: "6 characters or more",
  invent: "Make one up",
  mayDownload: "Files may be downloaded",
  mostOpens: "How often it may be opened",
  mostOpensHint: "any number",
  mostFiles: "Files at most",
  mostBytes: "In all",
  note: "Note for yourself",
  noteHint: "Dr Example, second opinion",
  makeLink: "Make the link",
  link: "Link",
  copy: "Copy",
  linkAsPicture: "The link as a QR code",
  done: "Done",
  openLink: "Open",
  openAgain: "Open the link again",
  sendFiles: "Send your images",
  dropHere: "Drop files, folders or ZIPs here",
});
