// Reads configurations with CircleCI's own parser and prints what it has against them.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [, , folder, ...files] = process.argv;
const parser = createRequire(`${folder}/`)("@circleci/circleci-config-parser");
const problems = [];
for (const file of files) {
  try {
    parser.parseConfig(readFileSync(file, "utf8"));
  } catch (error) {
    problems.push(`${file}: ${error.message}`);
  }
}
process.stdout.write(JSON.stringify(problems));
