"use strict";
// The search over the cases. What a manifest says reaches the page as text alone (textContent), never as markup.
(() => {
  const { cases, pictures } = JSON.parse(document.getElementById("data").textContent);
  const STEP = 50;
  const form = document.querySelector("form.search");
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const count = document.getElementById("count");
  const list = document.getElementById("list");
  const more = document.getElementById("more");
  for (const one of cases) {
    one.name = one.row.case;
    one.text = Object.values(one.row).join("\n").toLowerCase();
  }

  function element(tag, content, className) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...[content ?? ""].flat());
    return made;
  }

  const COMPARED = {
    "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b,
  };

  // One word of the search: volume>50 compares a column's number, anything else is looked for in the text.
  function condition(word) {
    const [, column, sign, number] = word.match(/^(\w+)(<=|>=|<|>|=)(-?[\d.]+)$/) ?? [];
    if (!column) return (one) => one.text.includes(word);
    return (one) => {
      const value = one[column] ?? one.row[column] ?? one.row[column + "_ml"] ?? "";
      return value !== "" && COMPARED[sign](Number(value), Number(number));
    };
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
    const facts = Object.entries(one.row).map(([key, value]) => element("div", [element("dt", key), element("dd", value)]));
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
    const conditions = search.value.toLowerCase().split(/\s+/).filter(Boolean).map(condition);
    found = cases.filter((one) => conditions.every((holds) => holds(one)));
    const by = sort.value;
    if (by === "name") found.sort((a, b) => (a.name < b.name ? -1 : 1));
    else if (by) found.sort((a, b) => (b[by] ?? -Infinity) - (a[by] ?? -Infinity));
    list.replaceChildren();
    show();
    count.textContent = found.length === cases.length ? `${cases.length} cases` : `${found.length} of ${cases.length} cases`;
  }

  search.addEventListener("input", find);
  sort.addEventListener("change", find);
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
