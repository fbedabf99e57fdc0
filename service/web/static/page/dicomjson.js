// Values in a dataset of the DICOM JSON Model (PS3.18 Annex F). Files break every rule, so what is absent, empty or no
// number is null or an empty list here.

/**
 * @typedef {{vr: string, Value?: any[], InlineBinary?: string, BulkDataURI?: string}} Element
 * @typedef {Record<string, Element>} Dataset
 */

/** The tags that the page asks for by their keywords. */
export const TAGS = Object.freeze({
  StudyDate: "00080020", SeriesDate: "00080021", StudyTime: "00080030", SeriesTime: "00080031",
  Modality: "00080060", StudyDescription: "00081030", SeriesDescription: "0008103E",
  ModalitiesInStudy: "00080061", PatientName: "00100010", PatientID: "00100020",
  StudyInstanceUID: "0020000D", SeriesInstanceUID: "0020000E", SOPInstanceUID: "00080018", SOPClassUID: "00080016",
  SeriesNumber: "00200011", InstanceNumber: "00200013",
  NumberOfStudyRelatedInstances: "00201208", NumberOfSeriesRelatedInstances: "00201209",
  ImagePositionPatient: "00200032", ImageOrientationPatient: "00200037", PatientOrientation: "00200020",
  PixelSpacing: "00280030", ImagerPixelSpacing: "00181164", NominalScannedPixelSpacing: "00182010",
  PixelAspectRatio: "00280034", SequenceOfUltrasoundRegions: "00186011",
  PhysicalUnitsXDirection: "00186024", PhysicalDeltaX: "0018602C", PhysicalDeltaY: "0018602E",
  SamplesPerPixel: "00280002", PhotometricInterpretation: "00280004", NumberOfFrames: "00280008",
  Rows: "00280010", Columns: "00280011", BitsAllocated: "00280100", BitsStored: "00280101", HighBit: "00280102",
  PixelRepresentation: "00280103", PixelPresentation: "00089205",
  WindowCenter: "00281050", WindowWidth: "00281051", RescaleIntercept: "00281052", RescaleSlope: "00281053",
  RescaleType: "00281054", WindowCenterWidthExplanation: "00281055", VOILUTFunction: "00281056",
  ModalityLUTSequence: "00283000", VOILUTSequence: "00283010", LUTDescriptor: "00283002", LUTExplanation: "00283003",
  ModalityLUTType: "00283004", LUTData: "00283006",
  PresentationLUTSequence: "20500010", PresentationLUTShape: "20500020", Units: "00541001",
  RedPaletteColorLookupTableDescriptor: "00281101",
  FrameTime: "00181063", CineRate: "00180040", RecommendedDisplayFrameRate: "00082144",
  SharedFunctionalGroupsSequence: "52009229", PerFrameFunctionalGroupsSequence: "52009230",
  PixelValueTransformationSequence: "00289145", FrameVOILUTSequence: "00289132", PixelMeasuresSequence: "00289110",
  PlaneOrientationSequence: "00209116", PlanePositionSequence: "00209113",
  PixelData: "7FE00010", FloatPixelData: "7FE00008", DoubleFloatPixelData: "7FE00009",
});

/** @typedef {keyof typeof TAGS} Keyword */

/**
 * Returns the values of an element.
 * @param {Dataset | null | undefined} dataset
 * @param {Keyword} keyword
 * @returns {any[]}
 */
export function values(dataset, keyword) {
  return dataset?.[TAGS[keyword]]?.Value ?? [];
}

/**
 * Returns the numbers of an element up to the first value that is none; some files hold them as texts.
 * @param {Dataset | null | undefined} dataset
 * @param {Keyword} keyword
 */
export function numbers(dataset, keyword) {
  /** @type {number[]} */
  const found = [];
  for (const value of values(dataset, keyword)) {
    const number = typeof value === "string" && value.trim() ? Number(value) : value;
    if (typeof number !== "number" || !Number.isFinite(number)) break;
    found.push(number);
  }
  return found;
}

/**
 * Returns the first value as a number.
 * @param {Dataset | null | undefined} dataset
 * @param {Keyword} keyword
 * @returns {number | null}
 */
export function number(dataset, keyword) {
  return numbers(dataset, keyword)[0] ?? null;
}

/**
 * Returns the first value as a whole number.
 * @param {Dataset | null | undefined} dataset
 * @param {Keyword} keyword
 */
export function whole(dataset, keyword) {
  const found = number(dataset, keyword);
  return found !== null && Number.isInteger(found) ? found : null;
}

/**
 * Returns the first value as text; of a person the name as people write it.
 * @param {Dataset | null | undefined} dataset
 * @param {Keyword} keyword
 * @returns {string}
 */
export function textOf(dataset, keyword) {
  const [value] = values(dataset, keyword);
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value).trim();
  return personName(value.Alphabetic || value.Ideographic || value.Phonetic || "");
}

/**
 * Returns the first value in upper case, as code strings are compared.
 * @param {Dataset | null | undefined} dataset
 * @param {Keyword} keyword
 */
export const code = (dataset, keyword) => textOf(dataset, keyword).toUpperCase();

/**
 * Returns a person's name without its carets: family name, given names (PS3.5 6.2.1).
 * @param {string} name
 */
export function personName(name) {
  const [family = "", ...others] = name.split("=")[0].split("^").map((part) => part.trim());
  const given = others.slice(0, 2).filter(Boolean).join(" ");
  return [family, given].filter(Boolean).join(", ");
}

/**
 * Returns the items of a sequence.
 * @param {Dataset | null | undefined} dataset
 * @param {Keyword} keyword
 * @returns {Dataset[]}
 */
export function items(dataset, keyword) {
  return values(dataset, keyword).filter((item) => item && typeof item === "object");
}

/**
 * Returns the item of a functional group that holds for one frame (PS3.3 C.7.6.16).
 * @param {Dataset} dataset
 * @param {number} frame  from 1
 * @param {Keyword} group
 * @returns {Dataset | null}
 */
export function ofFrame(dataset, frame, group) {
  const own = items(dataset, "PerFrameFunctionalGroupsSequence")[frame - 1];
  const shared = items(dataset, "SharedFunctionalGroupsSequence")[0];
  return items(own, group)[0] ?? items(shared, group)[0] ?? null;
}
