// A table of records, oldest or newest first, that grows as more are asked for; on a narrow screen each row is a card.

import { make } from "./elements.js";

export class RecordTable {
  // `columns`: their names; `title`: the id of the heading that names the table. The roles keep it a table for screen
  // readers where its rows are drawn as cards.
  constructor({ id, title, columns }) {
    this.columns = columns;
    this.rows = make("tbody", { role: "rowgroup" });
    this.table = make("table", { id, class: "records", role: "table", "aria-labelledby": title },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, columns.map((name) => make("th", { scope: "col", role: "columnheader" }, name)))),
      this.rows);
    this.node = make("div", { class: "scroll" }, this.table);
    this.clear();
  }

  // `cells`: for each column a text, an element, or several of them; null stays empty.
  makeRow(cells) {
    return make("tr", { role: "row" }, cells.map((cell, column) => make("td", { role: "cell", data: { label: this.columns[column], empty: cell === null || cell === "" } }, cell)));
  }

  add(rows) {
    this.rows.append(...rows);
    this.node.hidden = !this.rows.children.length;
  }

  clear() {
    this.rows.replaceChildren();
    this.node.hidden = true;
  }

  get count() {
    return this.rows.children.length;
  }
}
