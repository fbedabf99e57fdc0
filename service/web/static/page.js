// The page of one person's files. Everything that comes from a file is put in as text, never as markup.

const PAGE_SIZE = 100;
const SHOWN_MATCHES = 500;

const find = (id) => document.getElementById(id);
const session = { patient: "", token: "", offset: 0, chosen: null, tags: [], flat: [], pictureUrl: null, asked: 0 };

// --- asking the service -------------------------------------------------------------------------------------------

const patientPath = () => `/patient/${encodeURIComponent(session.patient)}`;
const instancePath = (id) => `${patientPath()}/dicom/${encodeURIComponent(id)}`;

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (session.token) headers["access-token"] = session.token;
  const answer = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-cache" });
  if (!answer.ok) throw new Error(await sentenceOf(answer));
  return answer;
}

async function sentenceOf(answer) {
  try {
    return (await answer.json()).detail || answer.statusText;
  } catch {
    return answer.statusText || `The service responded with status ${answer.status}.`;
  }
}

function tell(text, bad = false) {
  const notice = find("notice");
  notice.textContent = text;
  notice.classList.toggle("bad", bad);
  notice.hidden = !text;
}

const telling = (work) => async (...given) => {
  try {
    await work(...given);
  } catch (error) {
    tell(error.message, true);
  }
};

// --- making elements ----------------------------------------------------------------------------------------------

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const counted = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB"];
  let value = count;
  let unit = -1;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

// --- who ----------------------------------------------------------------------------------------------------------

async function signIn(event) {
  event.preventDefault();
  session.patient = find("patient").value;
  session.token = find("token").value.trim();
  tell("");
  if (!session.token) {
    // In dev mode the service gives a token to whoever asks; elsewhere there is no such route.
    const answer = await fetch(`${patientPath()}/token`, { credentials: "omit" });
    if (!answer.ok) {
      find("token-field").hidden = false;
      find("token").focus();
      throw new Error(answer.status === 404 ? "This service requires a token. Paste one." : await sentenceOf(answer));
    }
    session.token = (await answer.json()).access_token;
  }
  forget();
  find("workplace").hidden = true;
  await showList(true);
  find("welcome").hidden = true;
  find("workplace").hidden = false;
}

// --- the list -----------------------------------------------------------------------------------------------------

async function showList(fromStart) {
  if (fromStart) session.offset = 0;
  const answer = await ask(`${patientPath()}/dicom?limit=${PAGE_SIZE}&offset=${session.offset}`);
  const { instances } = await answer.json();
  const rows = instances.map(makeRow);
  if (fromStart) find("list").replaceChildren(...rows);
  else find("list").append(...rows);
  session.offset += instances.length;
  find("more").hidden = !answer.headers.has("Link");
  if (!find("list").childElementCount) find("list").append(make("p", "hint", "No files yet."));
}

function makeRow(instance) {
  const row = make("li");
  row.tabIndex = 0;
  row.dataset.id = instance.dicom_id;
  row.append(make("span", "name", instance.file_name));
  const facts = [new Date(instance.received_at).toLocaleString(), bytes(instance.size)];
  if (instance.extraction.state !== "done") facts.push(instance.extraction.state);
  if (instance.problems) facts.push(counted(instance.problems, "problem"));
  row.append(make("span", "facts", facts.join(" · ")));
  row.classList.toggle("chosen", instance.dicom_id === session.chosen?.dicom_id);
  row.addEventListener("click", telling(() => choose(instance)));
  row.addEventListener("keydown", (event) => {
    if (event.key === "Enter") row.click();
  });
  return row;
}

async function upload(files) {
  let last = null;
  const refused = [];
  for (const [number, file] of [...files].entries()) {
    tell(`Uploading ${number + 1} of ${files.length}: ${file.name}`);
    const form = new FormData();
    form.append("body", new Blob([file], { type: "application/dicom" }), file.name);
    try {
      last = await (await ask(`${patientPath()}/dicom`, { method: "POST", body: form })).json();
    } catch (error) {
      refused.push(`${file.name}: ${error.message}`);
    }
  }
  await showList(true);
  [...find("list").children].find((row) => row.dataset.id === last)?.click();
  tell(refused.join(" "), refused.length > 0);
}

// --- one file -----------------------------------------------------------------------------------------------------

function forget() {
  session.chosen = null;
  session.tags = [];
  session.flat = [];
  find("chosen").hidden = true;
  find("nothing-chosen").hidden = false;
  find("search").value = "";
  find("search").disabled = true;
  find("count").textContent = "";
  find("tree").replaceChildren();
}

async function choose(instance) {
  forget();
  session.chosen = instance;
  for (const row of find("list").children) row.classList.toggle("chosen", row.dataset.id === instance.dicom_id);
  find("nothing-chosen").hidden = true;
  find("chosen").hidden = false;
  find("file-name").textContent = instance.file_name;
  find("frame").value = 1;
  find("frame").max = 1;
  find("center").value = "";
  find("width").value = "";
  tell("");
  await Promise.all([showPicture(), showTags(instance)]);
}

async function showPicture() {
  const instance = session.chosen;
  const asked = (session.asked += 1);
  const query = new URLSearchParams({ frame: find("frame").value });
  const [center, width] = [find("center").value, find("width").value];
  if (center !== "" && width !== "") query.set("window", `${center},${width}`);
  const path = `${instancePath(instance.dicom_id)}?${query}`;
  try {
    const answer = await ask(path, { headers: { Accept: "image/png" } });
    const picture = await answer.blob();
    if (asked !== session.asked) return; // another frame was asked for meanwhile
    if (session.pictureUrl) URL.revokeObjectURL(session.pictureUrl);
    session.pictureUrl = URL.createObjectURL(picture);
    find("picture").src = session.pictureUrl;
    find("picture").hidden = false;
    find("controls").hidden = false;
    describePicture(answer.headers);
  } catch (error) {
    if (asked !== session.asked) return;
    find("picture").hidden = true;
    find("controls").hidden = find("frame").max === "1" && center === ""; // else the way back is there
    find("caption").textContent = error.message;
  }
}

function describePicture(headers) {
  const frames = headers.get("Dicom-Frames") || "1";
  const frame = headers.get("Dicom-Frame") || "1";
  const shown = headers.get("Dicom-Window");
  find("frame").max = frames;
  find("frame-number").textContent = `${frame} of ${frames}`;
  find("frame-field").hidden = frames === "1";
  find("window-fields").hidden = headers.get("Dicom-Window-Source") === "none"; // a picture in colour has none
  const facts = [];
  if (shown) {
    const [center, width] = shown.split(",");
    find("center").placeholder = center;
    find("width").placeholder = width;
    facts.push(`window ${center}, ${width} (${headers.get("Dicom-Window-Source")})`);
  }
  if (headers.get("Warning")) facts.push(headers.get("Warning").replace(/299 - /g, ""));
  find("caption").textContent = facts.join(" · ");
}

async function download() {
  const instance = session.chosen;
  const answer = await ask(instancePath(instance.dicom_id), { headers: { Accept: "application/dicom" } });
  const link = make("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = instance.file_name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function remove() {
  const instance = session.chosen;
  if (!confirm(`Delete ${instance.file_name} permanently?`)) return;
  await ask(instancePath(instance.dicom_id), { method: "DELETE" });
  forget();
  await showList(true);
}

// --- its tags -----------------------------------------------------------------------------------------------------

async function showTags(instance) {
  let tags;
  try {
    tags = await (await ask(`${instancePath(instance.dicom_id)}/tags`)).json();
  } catch (error) {
    if (instance === session.chosen) find("count").textContent = error.message;
    return;
  }
  if (instance !== session.chosen) return;
  session.tags = tags;
  session.flat = [];
  flatten(tags, "");
  find("search").disabled = false;
  showTree();
}

function flatten(tags, prefix) {
  for (const tag of tags) {
    const path = prefix + nameOf(tag);
    session.flat.push({ tag, path, text: `${path} ${tag.tag} ${tag.name || ""} ${textOf(tag)}`.toLowerCase() });
    if (tag.vr === "SQ") (tag.value || []).forEach((item, number) => flatten(item, `${path}[${number}].`));
  }
}

// As the API takes it: a private element by its creator, whatever block the file reserved for it.
const privateName = (tag) => `${tag.creator}:${tag.group_id}xx${tag.element_id.slice(2)}`;
const nameOf = (tag) => tag.keyword || (tag.creator ? privateName(tag) : tag.tag);

function textOf(tag) {
  if (tag.vr === "SQ") return "";
  if (tag.length !== undefined) return `${bytes(tag.length)} of data`;
  if (tag.value === null) return tag.raw === undefined ? "" : String(tag.raw);
  return Array.isArray(tag.value) ? tag.value.map((value) => value ?? "").join(" \\ ") : String(tag.value);
}

function showTree() {
  const wanted = find("search").value.trim().toLowerCase();
  if (!wanted) {
    find("count").textContent = `${session.flat.length} elements`;
    find("tree").replaceChildren(...session.tags.map((tag) => makeTag(tag)));
    return;
  }
  const words = wanted.split(/\s+/);
  const matches = session.flat.filter(({ text }) => words.every((word) => text.includes(word)));
  const shown = matches.slice(0, SHOWN_MATCHES);
  const more = matches.length > shown.length ? ` (showing the first ${shown.length})` : "";
  find("count").textContent = `${matches.length} of ${session.flat.length} elements${more}`;
  find("tree").replaceChildren(...shown.map(({ tag, path }) => makeTag(tag, path, words)));
}

function makeTag(tag, path, words = []) {
  if (tag.vr === "SQ" && !words.length) return makeSequence(tag);
  const row = make("div", "tag");
  const keyword = make("span", "keyword");
  keyword.title = tag.name || "";
  fill(keyword, path || nameOf(tag), words);
  const text = tag.vr === "SQ" ? counted((tag.value || []).length, "item") : textOf(tag);
  const value = make("span", text ? "value" : "value none");
  fill(value, text || "empty", words);
  if (tag.problem) value.append(" ", make("span", "problem", tag.problem));
  row.append(make("code", "", `${tag.group_id},${tag.element_id}`), make("code", "", tag.vr), keyword, value);
  return row;
}

function makeSequence(tag) {
  const items = tag.value || [];
  const details = make("details");
  const summary = make("summary");
  summary.append(
    make("code", "", `${tag.group_id},${tag.element_id} SQ`),
    make("span", "keyword", nameOf(tag)),
    make("span", "hint", counted(items.length, "item")),
  );
  details.append(summary);
  // What is inside is made when it is opened: a sequence may have thousands of items.
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    items.forEach((item, number) => {
      const group = make("div");
      if (items.length > 1) group.append(make("div", "hint", `Item ${number}`));
      group.append(...item.map((inner) => makeTag(inner)));
      details.append(group);
    });
  });
  return details;
}

function fill(element, text, words) {
  const lower = text.toLowerCase();
  const word = words.find((each) => lower.includes(each));
  if (word === undefined || lower.length !== text.length) {
    element.textContent = text;
    return;
  }
  const start = lower.indexOf(word);
  element.append(text.slice(0, start), make("mark", "", text.slice(start, start + word.length)), text.slice(start + word.length));
}

// --- what happens when --------------------------------------------------------------------------------------------

let pause = 0;
const soon = (work, milliseconds) => {
  clearTimeout(pause);
  pause = setTimeout(work, milliseconds);
};

find("sign-in").addEventListener("submit", telling(signIn));
find("chooser").addEventListener("change", telling(async (event) => {
  await upload(event.target.files);
  event.target.value = "";
}));
find("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  find("drop").classList.add("over");
});
find("drop").addEventListener("dragleave", () => find("drop").classList.remove("over"));
find("drop").addEventListener("drop", telling(async (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  await upload(event.dataTransfer.files);
}));
find("drop").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") find("chooser").click();
});
find("more").addEventListener("click", telling(() => showList(false)));
find("download").addEventListener("click", telling(download));
find("delete").addEventListener("click", telling(remove));
find("frame").addEventListener("input", () => {
  find("frame-number").textContent = `${find("frame").value} of ${find("frame").max}`;
  soon(showPicture, 60);
});
find("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  showPicture();
});
find("controls").addEventListener("reset", () => {
  const frame = find("frame").value;
  setTimeout(() => {
    find("frame").value = frame;
    showPicture();
  });
});
find("search").addEventListener("input", () => soon(showTree, 120));

// The address may name the patient and the file: /#p-17 or /#p-17/<id>. What follows the # is never sent to a server.
const [patient, instance] = location.hash.slice(1).split("/").map(decodeURIComponent);
if (patient) {
  find("patient").value = patient;
  telling(async (event) => {
    await signIn(event);
    [...find("list").children].find((row) => row.dataset.id === instance)?.click();
  })(new Event("submit"));
}
