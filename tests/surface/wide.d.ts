// What `./wide` exports, as `deno task surface --accept` writes it.

export {};
