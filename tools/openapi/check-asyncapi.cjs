// Reads an AsyncAPI document with AsyncAPI's own parser and prints what it finds. Usage: check-asyncapi.cjs FILE
'use strict';

const { readFileSync } = require('node:fs');
const { Parser } = require('@asyncapi/parser');

// The document says 3.0 until the libraries that read it know more.
const left = new Set(['asyncapi-latest-version']);

async function main(file) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'), { source: file });
  const findings = diagnostics.filter(({ code }) => !left.has(code));
  for (const { code, message, path } of findings) {
    console.error(`${file}#/${path.join('/')}: ${message} (${code})`);
  }
  if (!document || findings.length > 0) {
    process.exitCode = 1;
    return;
  }
  console.log(`${file}: AsyncAPI ${document.version()}, no finding`);
}

main(process.argv[2]);
