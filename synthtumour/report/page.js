"use strict";
// The search over the cases. What a manifest says reaches the page as text alone (textContent), never as markup.
(() => {
  const { cases, pictures } = JSON.parse(document.getElementById("data").textContent);
  const ofAll = `${cases.length} case${cases.length === 1 ? "" : "s"}`;
  const STEP = 50;
  const form = document.querySelector("form.search");
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const count = document.getElementById("count");
  const list = document.getElementById("list");
  const more = document.getElementById("more");
  const said = document.getElementById("search-said");
  const SIDES = { train: "training", val: "validation" }; // as the headings call them
  const MEASURED = ["volume", "contrast", "tumours"]; // whatever the manifest's columns of them are called
  const columns = new Set(MEASURED.filter((column) => cases.some((one) => one[column] !== null)));
  for (const one of cases) {
    one.name = one.row.case;
    one.text = [...Object.values(one.row), SIDES[one.row.split] ?? ""].join("\n").toLowerCase();
    for (const column of Object.keys(one.row)) columns.add(column);
  }

  function element(tag, content, className) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...[content ?? ""].flat());
    return made;
  }

  const COMPARED = {
    "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
  };
  const WORD = /(\w+)\s*(<=|>=|<|>|=)\s*("[^"]*"|\S*)|\S+/g; // volume > 50, split=val, status = "not made"; or text

  const valueOf = (one, column) => (MEASURED.includes(column) ? one[column] : one.row[column]) ?? "";

  // Whether a case is what one word of the search asks for; what is wrong with the word goes to `problems`.
  function condition([word, column, sign, quoted], problems) {
    const inText = (one) => one.text.includes(word);
    if (!column) return inText;
    if (!columns.has(column)) {
      const known = [...columns].join(", ");
      if (!cases.some(inText)) problems.push(`no column "${column}"; columns: ${known}`); // names may have a = too
      return inText;
    }
    const wanted = quoted.replaceAll('"', "");
    const number = wanted === "" ? NaN : Number(wanted);
    if (sign === "=") {
      if (wanted === "") problems.push(`${column} = needs a value`);
      return (one) => {
        const value = valueOf(one, column);
        const names = [String(value).toLowerCase(), column === "split" ? SIDES[value] : undefined];
        return value !== "" && (names.includes(wanted) || Number(value) === number);
      };
    }
    if (Number.isNaN(number)) problems.push(`${column} ${sign} needs a number${wanted && `, not "${wanted}"`}`);
    return (one) => valueOf(one, column) !== "" && COMPARED[sign](Number(valueOf(one, column)), number);
  }

  // What to do where nothing is found.
  function hint(words) {
    const column = words.map(([word]) => word).find((word) => columns.has(word));
    if (!column) return "Nothing found. All words have to hold: fewer of them find more.";
    const example = cases.map((one) => valueOf(one, column)).find((value) => value !== "");
    return `Nothing found. "${column}" is a column: ${column} = ${/\s/.test(example) ? `"${example}"` : example}, say.`;
  }

  function summary(one) {
    const { row } = one;
    const several = one.tumours === 1 ? "" : "s";
    return element("summary", [
      element("span", row.case, "name"),
      element("span", row.split ? [element("span", "", "mark " + row.split), row.split] : "", "side"),
      element("span", row.status, "status " + row.status.replace(" ", "-")),
      element("span", one.volume === null ? "" : one.volume.toFixed(1) + " ml", "number"),
      element("span", one.contrast === null ? "" : "contrast " + one.contrast.toFixed(2), "number"),
      element("span", one.tumours === null ? "" : `${one.tumours} tumour${several}`, "number"),
    ]);
  }

  // Three significant digits are enough to look at; the record has them all.
  function shown(value) {
    if (typeof value !== "number" || Number.isInteger(value)) return String(value);
    return Math.abs(value) < 1000 ? String(Number(value.toPrecision(3))) : value.toFixed(0);
  }

  function body(one) {
    const parts = [];
    if (one.picture) {
      const image = element("img");
      image.alt = one.description;
      image.src = pictures[one.name] ? "data:image/jpeg;base64," + pictures[one.name] : one.picture;
      const link = element("a", "full size");
      link.href = one.picture;
      parts.push(element("figure", [image, element("figcaption", link)]));
    }
    const facts = Object.entries(one.row).map(([key, value]) => element("div", [element("dt", key), element("dd", shown(value))]));
    parts.push(element("dl", facts, "facts"));
    if (one.record) {
      const record = element("pre", JSON.stringify(one.record, null, 2));
      record.tabIndex = 0;
      parts.push(element("details", [element("summary", "Full record"), record]));
    }
    return element("div", parts, "body");
  }

  function entry(one) {
    const made = element("details", [summary(one)], "case");
    made.addEventListener("toggle", () => made.open && made.append(body(one)), { once: true });
    return made;
  }

  let found = [];
  function show() {
    const next = found.slice(list.children.length, list.children.length + STEP);
    list.append(...next.map(entry));
    more.hidden = list.children.length >= found.length;
    more.textContent = `Show ${Math.min(STEP, found.length - list.children.length)} more`;
  }

  function find() {
    const words = [...search.value.toLowerCase().matchAll(WORD)];
    const problems = [];
    const conditions = words.map((word) => condition(word, problems));
    present(problems.length ? [] : cases.filter((one) => conditions.every((holds) => holds(one))));
    said.textContent = problems.join("; ") || (words.length && !found.length ? hint(words) : "");
  }

  function present(some) {
    found = some;
    const by = sort.value;
    if (by === "name") found.sort((a, b) => (a.name < b.name ? -1 : 1));
    else if (by) found.sort((a, b) => (b[by] ?? -Infinity) - (a[by] ?? -Infinity));
    list.replaceChildren();
    show();
    count.textContent = found.length === cases.length ? ofAll : `${found.length} of ${ofAll}`;
  }

  search.addEventListener("input", find);
  sort.addEventListener("change", find);
  for (const link of document.querySelectorAll("a[data-case]")) {
    link.addEventListener("click", () => {
      search.value = link.dataset.case;
      said.textContent = "";
      present(cases.filter((one) => one.name === link.dataset.case));
      list.firstChild.open = true;
    });
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = list.children.length;
    show();
    list.children[first]?.firstChild.focus();
  });
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
  });
  form.hidden = false;
  find();
})();
