/**
 * What both programs of the example agree on.
 *
 * @module
 */

/** The server's address. */
export const servers = "nats://127.0.0.1:4333";

/** Who may use which subjects: the server's own permissions keep tenants apart. */
export const credentials = { user: "demo", pass: "demo" };

/** What all subjects of the cache begin with. */
export const prefix = "demo.cache";

/** Groups of shards, and shards of each. */
export const groups = 3, replicas = 1;

/** The server's configuration. */
export const configuration = `
listen: "127.0.0.1:4333"
authorization {
  users = [{
    user: ${credentials.user}, password: ${credentials.pass}
    permissions: { publish: ["demo.>"], subscribe: ["demo.>"] }
  }]
}
`;
