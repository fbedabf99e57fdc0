// The API for people: /openapi.json as a page on which every operation can be tried. All text is put in as text.

const find = (id) => document.getElementById(id);
const SHOWN = 200_000;
const BOUNDARY = "a-boundary-of-the-docs-page";

// What was named or answered last, by the parameter that takes it: the next operation need not be told again.
const remembered = {};
const UIDS = { "0020000D": "study", "0020000E": "series", "00080018": "instance" };
let api = {};
let listed = 0;
// What each operation does when something is known that it may take.
const taking = [];

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

// Text in which `code` is marked as Markdown has it.
function prose(text) {
  const parts = String(text || "").split("`");
  return parts.map((part, index) => (index % 2 ? make("code", "", part) : document.createTextNode(part)));
}

function resolve(thing) {
  let found = thing;
  while (found && found.$ref) {
    found = found.$ref.slice(2).split("/").reduce((level, key) => level[key], api);
  }
  return found;
}

function nameOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(nameOf).join(" or ");
  if (schema.type === "array") return `list of ${nameOf(schema.items) || "values"}`;
  if (schema.format === "binary") return "bytes";
  if (schema.enum) return schema.enum.join(" | ");
  return [].concat(schema.type || "").join(" or ") + (schema.format ? ` (${schema.format})` : "");
}

// The same as elements, with links to the shapes that have a name.
function typeOf(schema) {
  if (!schema) return [];
  if (schema.$ref) {
    const link = make("a", "", nameOf(schema));
    link.href = `#shape-${nameOf(schema)}`;
    return [link];
  }
  if (schema.anyOf) return schema.anyOf.flatMap((each, index) => (index ? [" or ", ...typeOf(each)] : typeOf(each)));
  if (schema.type === "array") return ["list of ", ...(nameOf(schema.items) ? typeOf(schema.items) : ["values"])];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  return [nameOf(schema)];
}

// --- what an operation takes and gives ----------------------------------------------------------------------------

const exampleOf = (parameter) => {
  if (parameter.example !== undefined) return parameter.example;
  const named = Object.values(parameter.examples || {});
  return named.length ? named[0].value : "";
};

function asText(value) {
  if (Array.isArray(value)) return value.join(",");
  if (value && typeof value === "object") return new URLSearchParams(value).toString();
  return value === undefined ? "" : String(value);
}

function boundsOf(schema) {
  const words = [nameOf(schema)];
  const { minimum, maximum } = schema;
  if (maximum !== undefined && maximum < 1_000_000) words.push(`${minimum ?? "…"} to ${maximum}`);
  else if (minimum !== undefined) words.push(`at least ${minimum}`);
  if (schema.default !== undefined && schema.default !== "") words.push(`default ${schema.default}`);
  return words.filter(Boolean).join(", ");
}

function parameterRow(parameter, inputs, kinds) {
  const label = make("td", "", make("code", "", parameter.name), make("span", "hint", parameter.in));
  const about = make("td", "", ...prose(parameter.description), make("span", "hint", boundsOf(parameter.schema)));
  const input = make("input");
  input.setAttribute("aria-label", parameter.name);
  input.placeholder = asText(exampleOf(parameter));
  if (parameter.name === "Accept") {
    const list = make("datalist", "", ...kinds.map((kind) => make("option", "", kind)));
    list.id = `kinds-${(listed += 1)}`;
    input.setAttribute("list", list.id);
    label.append(list);
    input.placeholder = kinds[0] || "";
  }
  if (parameter.name === "patient_id") {
    input.disabled = true;
    input.placeholder = "the patient above";
  }
  if (parameter.name === "Accept-Encoding") {
    input.disabled = true;
    input.placeholder = "set by the browser";
  }
  inputs.push([parameter, input]);
  return make("tr", "", label, about, make("td", "try", input));
}

function parameterTable(parameters, inputs, kinds) {
  if (!parameters.length) return null;
  const head = make("tr", "", make("th", "", "Parameter"), make("th", "", ""), make("th", "", "Try"));
  const rows = parameters.map((parameter) => parameterRow(parameter, inputs, kinds));
  return make("table", "", make("thead", "", head), make("tbody", "", ...rows));
}

function responseTable(responses) {
  const rows = Object.entries(responses).map(([status, response]) => {
    // Errors all have the same media type, as the page says above.
    const kinds = Object.entries(response.content || {}).filter(([kind]) => kind !== "application/problem+json").map(([kind, { schema }]) =>
      make("span", "hint", make("code", "", kind), " ", ...typeOf(schema)));
    return make("tr", "", make("td", "", make("code", "", status)), make("td", "", ...prose(response.description), ...kinds));
  });
  return make("table", "", make("tbody", "", ...rows));
}

function shapeElement(name, schema) {
  const element = make("details", "shape", make("summary", "", make("code", "", name), make("span", "says", schema.description || "")));
  element.id = `shape-${name}`;
  const rows = Object.entries(schema.properties || {}).map(([property, { description, ...shape }]) =>
    make("tr", "", make("td", "", make("code", "", property)),
      make("td", "", ...typeOf(shape), (schema.required || []).includes(property) ? null : make("span", "hint", "optional")),
      make("td", "", ...prose(description))));
  const others = schema.items || schema.additionalProperties;
  element.append(make("div", "",
    rows.length ? make("table", "", make("tbody", "", ...rows)) : null,
    others ? make("p", "", schema.items ? "A list of " : "By name: ", ...typeOf(others)) : null));
  return element;
}

// --- trying it ----------------------------------------------------------------------------------------------------

// What stands in a field, or its example where the request is none without it.
function valueOf(parameter, input) {
  const value = input.value.trim();
  if (value && parameter.in === "path") remembered[parameter.name] = value;
  return value || (parameter.required && !input.disabled ? input.placeholder : "");
}

function targetOf(path, inputs) {
  let target = path;
  const query = [];
  const headers = {};
  for (const [parameter, input] of inputs) {
    const value = parameter.name === "patient_id" ? find("patient").value : valueOf(parameter, input);
    if (parameter.in === "path") {
      target = target.replace(`{${parameter.name}}`, encodeURIComponent(value));
    } else if (value && parameter.in === "query") {
      query.push(parameter.schema.type === "object" ? value : `${parameter.name}=${encodeURIComponent(value)}`);
    } else if (value && !input.disabled) {
      headers[parameter.name] = value;
    }
  }
  return { url: target + (query.length ? `?${query.join("&")}` : ""), headers };
}

function bodyOf(kind, files, headers) {
  if (kind === "multipart/form-data") {
    const form = new FormData();
    form.append("body", new Blob([files[0]], { type: "application/dicom" }), files[0].name);
    return form;
  }
  if (kind.startsWith("multipart/related")) {
    headers["Content-Type"] = `${kind}; boundary=${BOUNDARY}`;
    const parts = files.flatMap((file) => [`--${BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n`, file, "\r\n"]);
    return new Blob([...parts, `--${BOUNDARY}--\r\n`]);
  }
  headers["Content-Type"] = kind;
  return files[0];
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(method, url, headers, kind) {
  const words = ["curl", "-i"];
  if (method !== "GET") words.push("-X", method);
  for (const [name, value] of Object.entries(headers)) {
    words.push("-H", name === "access-token" ? '"access-token: $TOKEN"' : quoted(`${name}: ${value}`));
  }
  if (kind === "multipart/form-data") words.push("-F", quoted("body=@CT.dcm;type=application/dicom"));
  else if (kind) words.push("-H", "'Content-Type: application/dicom'", "--data-binary", "@CT.dcm");
  return [...words, quoted(location.origin + url)].join(" ");
}

async function shown(answer) {
  const kind = (answer.headers.get("Content-Type") || "").split(";")[0];
  const blob = await answer.blob();
  if (!blob.size) return null;
  if (kind.startsWith("image/")) {
    const picture = make("img");
    picture.alt = "The image in the response";
    picture.src = URL.createObjectURL(blob);
    return picture;
  }
  if (kind.endsWith("json") || kind.startsWith("text/")) {
    const text = await blob.text();
    const pretty = kind.endsWith("json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
    return make("pre", "", pretty.length > SHOWN ? `${pretty.slice(0, SHOWN)}\n…` : pretty);
  }
  const link = make("a", "", `Save ${blob.size} bytes (${kind || "no type"})`);
  link.href = URL.createObjectURL(blob);
  link.download = "answer";
  return link;
}

// Takes over what the next request needs; of a list, that of its first entry.
async function remember(answer, operation) {
  if (!answer.ok || !(answer.headers.get("Content-Type") || "").includes("json")) return {};
  const text = await answer.clone().text();
  if (!text) return {};
  const said = answer.headers.get("Content-Type").startsWith("application/x-ndjson")
    ? text.trim().split("\n").map((line) => JSON.parse(line))
    : JSON.parse(text);
  if (operation.operationId === "getToken") find("token").value = said.access_token;
  const found = typeof said === "string" ? { dicom_id: said } : idsOf(firstOf(said));
  Object.assign(remembered, found);
  return found;
}

const firstOf = (said) => {
  const list = Array.isArray(said) ? said : said.instances;
  return (Array.isArray(list) ? list.find((each) => each.dicom_id || each["0020000D"] || each["00080018"]) : said) || {};
};

function idsOf(entry) {
  const found = { dicom_id: entry.dicom_id, study: entry.study_instance_uid, series: entry.series_instance_uid, instance: entry.sop_instance_uid };
  for (const [tag, name] of Object.entries(UIDS)) found[name] ||= entry[tag]?.Value?.[0];
  return Object.fromEntries(Object.entries(found).filter(([, id]) => id));
}

// Puts into the fields of an operation what is known by now, but not over what somebody wrote.
function takeOver(inputs) {
  for (const [{ name, in: place }, input] of inputs) {
    if (place !== "path" || !remembered[name] || input.disabled || (input.value && input.value !== input.dataset.taken)) continue;
    input.value = input.dataset.taken = remembered[name];
  }
}

function tryForm(method, path, operation, inputs) {
  const form = make("form", "send");
  const button = make("button", "", "Send");
  const output = make("div", "answer");
  const kinds = Object.keys(resolve(operation.requestBody)?.content || {});
  const chooser = make("input");
  const kind = make("select", "", ...kinds.map((each) => make("option", "", each)));
  if (kinds.length) {
    chooser.type = "file";
    chooser.multiple = kinds.some((each) => each.startsWith("multipart/related"));
    chooser.setAttribute("aria-label", "File");
    kind.setAttribute("aria-label", "Media type of the body");
    form.append(kind, chooser);
  }
  form.append(button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { url, headers } = targetOf(path, inputs);
    if (find("token").value && operation.security.length) headers["access-token"] = find("token").value.trim();
    if (kinds.length && !chooser.files.length) {
      output.replaceChildren(make("p", "status bad", "Choose a file first."));
      return;
    }
    button.disabled = true;
    const command = make("pre", "", curlOf(method, url, headers, kinds.length ? kind.value : ""));
    try {
      const body = kinds.length ? bodyOf(kind.value, [...chooser.files], headers) : undefined;
      const answer = await fetch(url, { method, headers, body, credentials: "omit", cache: "no-store" });
      const found = await remember(answer, operation);
      for (const takes of taking) takes();
      const status = make("p", answer.ok ? "status" : "status bad", `${answer.status} ${answer.statusText}`);
      const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
      const names = Object.keys(found).map((name) => make("code", "", `${name}=${found[name]}`));
      const taken = names.length ? make("p", "hint taken", "Taken over into the next request: ", ...names.flatMap((name, at) => (at ? [", ", name] : [name]))) : null;
      output.replaceChildren(...[command, status, taken, make("pre", "", lines), await shown(answer)].filter(Boolean));
    } catch (error) {
      output.replaceChildren(command, make("p", "status bad", error.message));
    }
    button.disabled = false;
  });
  return [form, output];
}

// --- the page -----------------------------------------------------------------------------------------------------

const badge = (method) => make("span", `method ${method}`, method.toUpperCase());

function details(method, path, operation, inputs) {
  const kinds = Object.entries(operation.responses).filter(([status]) => status < "300").flatMap(([, each]) => Object.keys(each.content || {}));
  const parameters = (operation.parameters || []).map(resolve);
  const body = resolve(operation.requestBody);
  return make("div", "",
    operation.description ? make("p", "", ...prose(operation.description)) : null,
    parameterTable(parameters, inputs, [...new Set(kinds)]),
    body ? make("h3", "", "Body") : null,
    body ? make("p", "", ...prose(body.description), ...Object.keys(body.content).map((kind) => make("span", "hint", " ", make("code", "", kind)))) : null,
    ...tryForm(method.toUpperCase(), path, operation, inputs),
    make("h3", "", "Answers"),
    responseTable(operation.responses));
}

function operationElement(method, path, operation) {
  const element = make("details", "operation");
  element.id = operation.operationId;
  element.append(make("summary", "", badge(method), make("code", "", path),
    make("span", "needs", operation.security.length ? Object.values(operation.security[0])[0].join(" ") : "no token"),
    make("span", "says", operation.summary)));
  const inputs = [];
  taking.push(() => takeOver(inputs));
  element.addEventListener("toggle", () => {
    if (!element.open) return;
    if (element.childElementCount === 1) element.append(details(method, path, operation, inputs));
    takeOver(inputs);
  });
  return element;
}

function show() {
  find("description").append(...api.info.description.trim().split(/\n\n+/).map((text) => make("p", "", ...prose(text))));
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
  for (const { name, description } of api.tags) {
    const section = make("section", "", make("h2", "", name), make("p", "", ...prose(description)));
    find("contents").append(make("h2", "", name));
    for (const { path, method, operation } of operations.filter((each) => each.operation.tags[0] === name)) {
      section.append(operationElement(method, path, operation));
      const link = make("a", "", badge(method), operation.summary);
      link.href = `#${operation.operationId}`;
      find("contents").append(link);
    }
    find("operations").append(section);
  }
  const shapes = Object.entries(api.components.schemas).map(([name, schema]) => shapeElement(name, schema));
  const heading = make("h2", "", "Schemas");
  heading.id = "shapes";
  const link = make("a", "", "Response schemas");
  link.href = "#shapes";
  find("contents").append(make("h2", "", "Schemas"), link);
  find("operations").append(make("section", "", heading, make("p", "", "The JSON objects in responses."), ...shapes));
  find("get-token").hidden = !operations.some((each) => each.operation.operationId === "getToken");
}

function openNamed() {
  const named = location.hash && find(location.hash.slice(1));
  if (named) {
    named.open = true;
    named.scrollIntoView();
  }
}

find("who").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (find("get-token").hidden) return;
  const answer = await fetch(`/patient/${encodeURIComponent(find("patient").value)}/token`, { credentials: "omit" });
  const given = await answer.json();
  find("token").value = given.access_token || "";
  find("notice").textContent = answer.ok ? `This token is valid for ${given.expires_in} seconds.` : given.detail;
  find("notice").hidden = false;
});
addEventListener("hashchange", openNamed);

api = await (await fetch("/openapi.json")).json();
show();
openNamed();
