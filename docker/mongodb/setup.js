// Bring a mongod that was just started to where the service can use it: a replica set of one member, a role, and three users.
// Every step looks first, so that it can run again after any of them, and a changed password takes effect.

const wanted = (name) => {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set`);
  }
  return value;
};

const database = wanted("MONGODB_DATABASE");
const rootPassword = wanted("MONGODB_ROOT_PASSWORD");

// What the service may do, collection by collection: MongoDB has no way to take something out of readWrite. It makes its
// collections, validators and indexes itself. The audit it may only read and add to. (It may index it, and so it could
// have the server remove entries by their age, as AUDIT_DAYS does. To take that away too: start it once, then leave
// createIndex out.)
const collections = ["instances", "tag_index", "series", "usage", "shares", "meta"];
const buckets = ["originals", "rendered"];
const stored = [...collections, ...buckets.flatMap((name) => [`${name}.files`, `${name}.chunks`])];
const everything = [
  "find", "insert", "update", "remove",
  "createCollection", "collMod", "createIndex", "dropIndex", "listIndexes", "collStats",
];
const serviceRole = {
  role: "documentStore",
  privileges: [
    { resource: { db: database, collection: "" }, actions: ["listCollections"] },
    ...stored.map((collection) => ({ resource: { db: database, collection }, actions: everything })),
    {
      resource: { db: database, collection: "audit" },
      actions: ["find", "insert", "createCollection", "createIndex", "listIndexes"],
    },
    { resource: { db: database, collection: "shares_view" }, actions: ["createCollection", "collMod"] },
  ],
  roles: [],
};

// What people read who ask questions: everything but what opens shares, of which there are hashes in the collection shares.
const analystRole = {
  role: "documentAnalyst",
  privileges: [
    { resource: { db: database, collection: "" }, actions: ["listCollections"] },
    ...[...stored, "audit", "shares_view"]
      .filter((collection) => collection !== "shares")
      .map((collection) => ({ resource: { db: database, collection }, actions: ["find", "listIndexes", "collStats"] })),
  ],
  roles: [],
};

const users = [
  {
    user: "service",
    pwd: wanted("MONGODB_SERVICE_PASSWORD"),
    roles: [{ role: serviceRole.role, db: "admin" }],
  },
  // People who ask questions in mongosh.
  { user: "analyst", pwd: wanted("MONGODB_ANALYST_PASSWORD"), roles: [{ role: analystRole.role, db: "admin" }] },
];

const uri = "mongodb://127.0.0.1:27017/?directConnection=true&serverSelectionTimeoutMS=2000";

// Call once a second, for a minute, until it gives something true. While mongod starts it may also throw.
const until = (what, attempt) => {
  let reason = "";
  for (let tries = 0; tries < 60; tries += 1) {
    try {
      const result = attempt();
      if (result) {
        return result;
      }
    } catch (error) {
      reason = ` (${error.message})`;
    }
    sleep(1000);
  }
  throw new Error(`${what}: not within a minute${reason}`);
};

const admin = until("connecting to mongod", () => {
  const found = new Mongo(uri).getDB("admin");
  found.runCommand({ ping: 1 });
  return found;
});

// Until there is a first user, MongoDB allows two things to who comes from its own machine without a password: to
// initiate the replica set, and to create that user.
until("becoming primary", () => {
  const hello = admin.hello();
  if (!hello.setName && !hello.isWritablePrimary) {
    // A set that was initiated before has no name either in its first moments; then this is refused, and does no harm.
    admin.adminCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: "mongodb:27017" }] } });
    print("The replica set is initiated.");
  }
  return hello.isWritablePrimary;
});

const AUTHENTICATION_FAILED = 18;
try {
  admin.auth("root", rootPassword);
} catch (failure) {
  if (failure.code !== AUTHENTICATION_FAILED) {
    throw failure;
  }
  try {
    admin.createUser({ user: "root", pwd: rootPassword, roles: ["root"] });
  } catch (error) {
    throw new Error(`There is a user root, and MONGODB_ROOT_PASSWORD is not its password (${error.message})`);
  }
  admin.auth("root", rootPassword);
  print("The user root is created.");
}

for (const wantedRole of [serviceRole, analystRole]) {
  const { role, ...change } = wantedRole;
  if (admin.getRole(role)) {
    admin.updateRole(role, change);
  } else {
    admin.createRole(wantedRole);
    print(`The role ${role} is created.`);
  }
}
for (const { user, pwd, roles } of users) {
  if (admin.getUser(user)) {
    admin.updateUser(user, { pwd, roles });
  } else {
    admin.createUser({ user, pwd, roles });
    print(`The user ${user} is created.`);
  }
}
print("The database is ready.");
