// Runs docker/mongodb/setup.js against a stand-in for one mongod with a key file: what it lets whom do, and what it keeps.
// node mongod_stand_in.js SETUP.js STATE.json  reads the state, and prints the state afterwards and what went wrong.
const fs = require("fs");
const vm = require("vm");

const [setup, stateFile] = process.argv.slice(2);
const state = { answersAfter: 0, initiated: false, electionSeconds: 2, loadingSeconds: 0, users: {}, roles: {}, calls: [], ...JSON.parse(fs.readFileSync(stateFile)) };
const refuse = (code, message) => {
  throw Object.assign(new Error(message), { code });
};

class Mongo {
  constructor() {
    this.caller = null;
  }

  getDB() {
    const alone = () => Object.keys(state.users).length === 0;
    const allowed = () => this.caller === "root" || alone() || refuse(13, "not authorized");
    const loaded = () => state.initiated && state.loadingSeconds <= 0;
    const primary = () => loaded() && state.electionSeconds <= 0;
    return {
      runCommand: () => (state.answersAfter > 0 ? refuse(6, "no answer") : { ok: 1 }),
      hello: () => ({ isWritablePrimary: primary(), ...(loaded() ? { setName: "rs0" } : { isreplicaset: true }) }),
      adminCommand: ({ replSetInitiate }) => {
        allowed();
        if (state.initiated) refuse(23, "already initialized");
        state.calls.push("initiate");
        state.initiated = replSetInitiate.members[0].host === "mongodb:27017";
      },
      auth: (user, password) => {
        if (!primary() || state.users[user]?.pwd !== password) refuse(18, "Authentication failed.");
        this.caller = user;
      },
      getRole: (role) => allowed() && (state.roles[role] ?? null),
      createRole: ({ role, ...rest }) => {
        allowed();
        if (state.roles[role]) refuse(51002, "role exists");
        state.roles[role] = rest;
      },
      updateRole: (role, change) => allowed() && Object.assign(state.roles[role], change),
      getUser: (user) => allowed() && (state.users[user] ?? null),
      createUser: ({ user, pwd, roles }) => {
        allowed();
        if (!primary()) refuse(10107, "not primary");
        if (state.users[user]) refuse(51003, "user exists");
        const unknown = roles.find(({ role, db }) => db === "admin" && !state.roles[role]);
        if (unknown) refuse(31, `no role ${unknown.role}`);
        state.calls.push(`create ${user}`);
        state.users[user] = { pwd, roles };
        if (state.dieAfter === user) throw new Error("killed");
      },
      updateUser: (user, change) => allowed() && Object.assign(state.users[user], change),
    };
  }
}

const sleep = () => {
  state.answersAfter -= 1;
  if (state.initiated) state.loadingSeconds > 0 ? (state.loadingSeconds -= 1) : (state.electionSeconds -= 1);
};
let error = null;
try {
  vm.runInNewContext(fs.readFileSync(setup, "utf8"), { Mongo, sleep, print: () => {}, process });
} catch (failure) {
  error = failure.message;
}
console.log(JSON.stringify({ ...state, error }));
