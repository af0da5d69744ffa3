// Asks as a program on node does.
//
//   node lookup.js addresses NAME | fetch URL | texts NAME
//
// Prints `ok ...`, or the code of the failure: ENOTFOUND is for good, EAI_AGAIN asks for another try.

const dns = require('node:dns').promises;

const ways = {
  addresses: async (name) => (await dns.lookup(name, { all: true })).map((it) => it.address).sort().join(' '),
  texts: async (name) => (await dns.resolveTxt(name)).map((it) => it.join('')).join('\n'),
  fetch: async (url) => (await (await fetch(url)).text()).trim(),
};

const [way, what] = process.argv.slice(2);
ways[way](what).then(
  (said) => console.log('ok', said),
  (error) => console.log((error.cause ?? error).code),
);
