const find = (selector, root = document) => root.querySelector(selector);
const { scans, judged } = JSON.parse(find("#data").textContent);
const rows = [...document.querySelectorAll("#rows li")];
const list = find("#rows");
const frame = find("#page");
let chosen = -1;

// ---- verdicts: those of this browser go before those of the table that the index was made with

const entries = new Map();
const placeOf = (row) => scans.findIndex((scan) => scan.scan === row.scan && (row.result ? scan.result === row.result : scan.folder === (row.folder || "")));
function take(row) {
  const place = placeOf(row);
  if (place < 0 || (row.verdict && !VERDICTS.includes(row.verdict))) return false;
  const { scan, folder, score, result } = scans[place];
  entries.set(place, { verdict: row.verdict || "", note: String(row.note || ""), reviewed: row.reviewed || "", scan, folder, score: score ?? "", result });
  return true;
}
judged.forEach(take);
Object.values(kept()).forEach(take);

const entryOf = (place) => entries.get(place) || { verdict: "", note: "" };

function show(place) {
  const said = find(".said", rows[place]);
  const { verdict, note } = entryOf(place);
  said.dataset.verdict = verdict;
  said.textContent = [verdict.replace("-", " "), note && `“${note}”`].filter(Boolean).join(" ");
}

function count() {
  const verdicts = [...entries.values()].filter((entry) => entry.verdict);
  const many = (verdict) => verdicts.filter((entry) => entry.verdict === verdict).length;
  find("#progress").textContent =
    `${verdicts.length} of ${scans.length} looked at: ${many("pass")} pass, ${many("needs-work")} need work, ${many("fail")} fail`;
}

function judge(place, change) {
  if (place < 0) return;
  const { scan, folder, score, result } = scans[place];
  const entry = { ...entryOf(place), ...change, scan, folder, score: score ?? "", result, reviewed: now() };
  entries.set(place, entry);
  find("#told").textContent = keep(entry) ? "" : "This browser keeps nothing: save the verdicts.";
  show(place);
  count();
}

// ---- list

function sorted() {
  const order = find("#order").value;
  const places = scans.map((_, place) => place);
  if (order === "name") places.sort((a, b) => `${scans[a].folder}/${scans[a].scan}`.localeCompare(`${scans[b].folder}/${scans[b].scan}`, "en", { numeric: true }));
  if (order === "weakest") places.sort((a, b) => (scans[a].weakest ?? -1) - (scans[b].weakest ?? -1));
  return places;
}

function wanted(place) {
  const which = find("#which").value;
  const { verdict, note } = entryOf(place);
  if (which === "open" && verdict) return false;
  if (which === "failed" && scans[place].status === "DONE") return false;
  if (VERDICTS.includes(which) && verdict !== which) return false;
  const words = find("#filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${rows[place].textContent} ${note}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function arrange() {
  const places = sorted();
  const part = document.createDocumentFragment();
  for (const place of places) {
    rows[place].hidden = !wanted(place);
    part.append(rows[place]);
  }
  list.append(part);
}

function choose(place) {
  if (place < 0) return;
  rows[chosen]?.classList.remove("chosen");
  chosen = place;
  rows[place].classList.add("chosen");
  rows[place].scrollIntoView({ block: "nearest" });
  const { page, message, status } = scans[place];
  frame.hidden = !page;
  find("#nothing").hidden = Boolean(page);
  if (page) frame.src = page;
  else {
    const text = status === "DONE" ? "This result has no page." : `${status}: ${message}`;
    find("#nothing").replaceChildren(Object.assign(document.createElement("p"), { textContent: text }));
  }
  location.hash = encodeURIComponent(keyOf(scans[place]));
}

function step(by) {
  const shown = [...list.children].filter((row) => !row.hidden).map((row) => Number(row.dataset.place));
  const at = shown.indexOf(chosen);
  choose(at < 0 ? (shown[by > 0 ? 0 : shown.length - 1] ?? -1) : (shown[at + by] ?? -1));
}

list.addEventListener("click", (event) => {
  const row = event.target.closest("li");
  if (row) choose(Number(row.dataset.place));
});
for (const id of ["filter", "which", "order"]) find(`#${id}`).addEventListener("input", arrange);

// ---- files

const saveFile = () => download("verdicts.tsv", asTsv([...entries.entries()].sort(([a], [b]) => a - b).map(([, entry]) => entry).filter((entry) => entry.verdict || entry.note)));
find("#save").addEventListener("click", saveFile);
find("#load").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  const found = fromTsv(await file.text());
  const taken = found.filter(take);
  taken.forEach((row) => keep(entries.get(placeOf(row))));
  find("#told").textContent = `${taken.length} of ${found.length} rows belong to these scans.`;
  scans.forEach((_, place) => show(place));
  count();
  arrange();
  event.target.value = "";
});

// ---- the page of a scan in its frame, and keys

window.addEventListener("message", (event) => {
  if (event.source !== frame.contentWindow || chosen < 0) return;
  const { spineps: kind, entry, key } = event.data || {};
  if (kind === "ready") event.source.postMessage({ spineps: "state", ...entryOf(chosen) }, "*");
  if (kind === "verdict") judge(chosen, { verdict: VERDICTS.includes(entry?.verdict) ? entry.verdict : "", note: String(entry?.note ?? "") });
  if (kind === "key") press(String(key));
});

const KEYS = {
  j: () => step(1), k: () => step(-1), s: saveFile, "/": () => find("#filter").focus(),
  1: () => judge(chosen, { verdict: "pass" }), 2: () => judge(chosen, { verdict: "needs-work" }),
  3: () => judge(chosen, { verdict: "fail" }), 0: () => judge(chosen, { verdict: "" }),
  n: () => {
    const note = chosen < 0 ? null : window.prompt("Note", entryOf(chosen).note);
    if (note !== null) judge(chosen, { note });
  },
};
function press(key) {
  const act = KEYS[key.toLowerCase()];
  if (!act) return false;
  act();
  if (!["j", "k", "s", "/"].includes(key.toLowerCase()) && chosen >= 0 && !frame.hidden) {
    frame.contentWindow.postMessage({ spineps: "state", ...entryOf(chosen) }, "*");
  }
  return true;
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") event.target.blur?.();
  if (typing(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (press(event.key)) event.preventDefault();
});

scans.forEach((_, place) => show(place));
count();
arrange();
const asked = decodeURIComponent(location.hash.slice(1));
if (asked) choose(scans.findIndex((scan) => keyOf(scan) === asked));
