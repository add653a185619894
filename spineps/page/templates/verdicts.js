// Verdicts: kept in the browser at once, written to a TSV file on demand. Shared by the page of a scan and the index.
const VERDICTS = ["pass", "needs-work", "fail"];
const COLUMNS = ["scan", "folder", "verdict", "note", "score", "reviewed", "result"];
const STORE = "spineps.verdicts";

// A verdict holds for one result of one scan: two scans may show nothing and so have equal results.
const keyOf = (entry) => `${entry.result} ${entry.scan}`;

function kept() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) || {};
  } catch {
    return {}; // no storage here, or not ours: verdicts then live as long as the page
  }
}

function keep(entry) {
  try {
    const all = kept();
    if (entry.verdict || entry.note) all[keyOf(entry)] = entry;
    else delete all[keyOf(entry)];
    localStorage.setItem(STORE, JSON.stringify(all));
    return true;
  } catch {
    return false;
  }
}

const cell = (value) => String(value ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ").trim();

function asTsv(entries) {
  const rows = entries.map((entry) => COLUMNS.map((column) => cell(entry[column])).join("\t"));
  return [COLUMNS.join("\t"), ...rows, ""].join("\n");
}

function fromTsv(text) {
  const [head, ...rows] = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line.trim());
  const columns = (head || "").split("\t");
  return rows.map((row) => Object.fromEntries(row.split("\t").map((value, place) => [columns[place], value])));
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");
const typing = (event) => event.target.matches?.("input[type=text], input[type=search], textarea, select");
