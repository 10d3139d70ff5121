/**
 * The script of the library's workers, to be served by a page for the option `workerUrl` of
 * `createEngine()`. It exports nothing.
 */

export {};
