// Compiles the contracts: node build.mjs [--modules DIR] [--out DIR]
//
// The same sources, compiler and settings give the same bytes on every machine: source names are relative, nothing
// depends on the time or the place, and a test compares what is committed with a build of its own.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    modules: { type: "string", default: join(HERE, "node_modules") },
    out: { type: "string", default: HERE },
  },
});
const solc = createRequire(join(options.modules, "index.js"))("solc");

const CONTRACT = "CounterfoilTickets";
const SETTINGS = {
  evmVersion: "cancun", // the newest that every chain we know of, anvil and py-evm all run
  viaIR: true, // measured: the only way the hook's many values fit, and the cheaper code
  optimizer: { enabled: true, runs: 20_000 }, // a batch runs each path hundreds of times, the code is stored once
  metadata: { bytecodeHash: "ipfs" }, // block explorers then find an exact match
};

/** The texts of these sources and of all that they import, by name and in order. */
function withImports(roots) {
  const found = new Map();
  const visit = (name) => {
    if (found.has(name)) return;
    const content = readFileSync(name.startsWith("src/") ? join(HERE, name) : join(options.modules, name), "utf8");
    found.set(name, { content });
    for (const [, path] of content.matchAll(/^import [^;]*?"([^"]+)";/gm)) {
      visit(path.startsWith(".") ? posix.join(posix.dirname(name), path) : path);
    }
  };
  roots.forEach(visit);
  return Object.fromEntries([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function standardInput(roots, outputs) {
  return { language: "Solidity", sources: withImports(roots), settings: { ...SETTINGS, outputSelection: outputs } };
}

/** The compiler's output. Its warnings are errors. */
function compile(input) {
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const complaints = (output.errors ?? []).filter((error) => error.severity !== "info");
  if (complaints.length > 0) {
    throw new Error(complaints.map((complaint) => complaint.formattedMessage).join("\n"));
  }
  return output;
}

/** Where the code on the chain differs from `deployedBytecode`, by the name of the immutable that is written there. */
function immutables(references, sources) {
  const names = new Map();
  const visit = (node) => {
    if (node === null || typeof node !== "object") return;
    if (node.nodeType === "VariableDeclaration") names.set(node.id, node.name);
    Object.values(node).forEach(visit);
  };
  Object.values(sources).forEach((source) => visit(source.ast));
  return Object.fromEntries(Object.entries(references).map(([id, places]) => [names.get(Number(id)), places]));
}

function write(name, document) {
  writeFileSync(join(options.out, name), JSON.stringify(document, null, 1) + "\n");
}

function buildContract() {
  const file = `src/${CONTRACT}.sol`;
  const outputs = {
    "*": { "": ["ast"] },
    [file]: {
      [CONTRACT]: ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences"],
    },
  };
  const input = standardInput([file], outputs);
  const output = compile(input);
  const { abi, evm } = output.contracts[file][CONTRACT];
  const verification = { ...input, settings: { ...SETTINGS, outputSelection: { "*": { "*": ["abi", "metadata"] } } } };
  write(`${CONTRACT}.input.json`, verification);
  write(`${CONTRACT}.json`, {
    contractName: CONTRACT,
    sourceName: file,
    compiler: solc.version(),
    settings: SETTINGS,
    sourceHash: "sha256:" + createHash("sha256").update(JSON.stringify(input.sources)).digest("hex"),
    bytecode: "0x" + evm.bytecode.object,
    deployedBytecode: "0x" + evm.deployedBytecode.object,
    immutableReferences: immutables(evm.deployedBytecode.immutableReferences, output.sources),
    abi,
  });
}

/** What tests and measurements are made with: peers and hostile receivers, which nobody deploys. */
function buildTestParts() {
  const files = readdirSync(join(HERE, "src", "test")).sort().map((name) => `src/test/${name}`);
  const outputs = Object.fromEntries(files.map((file) => [file, { "*": ["abi", "evm.bytecode.object"] }]));
  const { contracts } = compile(standardInput(files, outputs));
  const parts = files.flatMap((file) => Object.entries(contracts[file] ?? {}));
  const artifacts = parts.map(([name, { abi, evm }]) => [name, { abi, bytecode: "0x" + evm.bytecode.object }]);
  write("test-artifacts.json", Object.fromEntries(artifacts));
}

buildContract();
buildTestParts();
