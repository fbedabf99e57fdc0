// The session that a link has opened. The tab keeps it, so that a reload is not another opening; nothing else is kept anywhere.

/**
 * @typedef {object} Session
 * @property {string} token
 * @property {string} patient
 * @property {number} ends  milliseconds since 1970
 * @property {boolean} download  whether files may be had, and not only looked at
 * @property {{max_files: number, max_bytes: number} | null} inbox  what may come, where the link takes files and shows none
 */

const NAME = "session";

/**
 * Has the tab keep a session.
 * @param {Session} session
 */
export const keep = (session) => sessionStorage.setItem(NAME, JSON.stringify(session));

/**
 * Returns the session that the tab keeps.
 * @returns {Session | null}
 */
export const kept = () => JSON.parse(sessionStorage.getItem(NAME) ?? "null");

/** Has the tab keep none. */
export const forget = () => sessionStorage.removeItem(NAME);
