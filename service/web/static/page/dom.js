// Elements, found and made. What comes from a file is only ever put in as text.

/**
 * Returns the element of the page with this id.
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} kind  its class
 * @returns {T}
 */
export function find(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`The page has no ${kind.name} #${id}.`);
  return element;
}

/**
 * Makes an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {string} [className]
 * @param {...(Node | string | null | undefined)} children  texts become text
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(name, className = "", ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

/**
 * Makes a button.
 * @param {string} className
 * @param {string} label
 * @param {(event: MouseEvent) => unknown} work  what it does
 */
export function makeButton(className, label, work) {
  const button = make("button", className, label);
  button.type = "button";
  button.addEventListener("click", work);
  return button;
}

/**
 * Has the browser save a file.
 * @param {Blob} content
 * @param {string} name
 */
export function save(content, name) {
  const link = make("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Copies a text, and says on the button that it did.
 * @param {HTMLButtonElement} button
 * @param {string} text
 * @param {string} done
 */
export async function copy(button, text, done) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // an address without TLS has no clipboard of its own
  }
  button.textContent = done;
  setTimeout(() => {
    button.textContent = label;
  }, 1500);
}

/** @param {string} text */
function copyBySelection(text) {
  const held = make("textarea", "offscreen");
  held.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(held);
  held.select();
  document.execCommand("copy");
  held.remove();
}

/**
 * Returns a function that runs the work once it has not been called for a while.
 * @param {number} milliseconds
 * @param {() => unknown} work
 */
export function afterPause(milliseconds, work) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(work, milliseconds);
  };
}
