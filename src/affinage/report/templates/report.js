// Nothing here is needed to read the page: cells of a heat map are walked with the arrow keys, one stop of Tab per map; regions that do not
// scroll are no stop; what is folded is printed.
(function () {
  "use strict";
  document.querySelectorAll("table.heat").forEach(function (table) {
    var rows = Array.from(table.querySelectorAll("tbody tr")).map(function (row) { return Array.from(row.querySelectorAll(".cell")); });
    var cells = rows.flat();
    cells.forEach(function (cell, place) { cell.tabIndex = place ? -1 : 0; });
    table.addEventListener("keydown", function (event) {
      var y = rows.findIndex(function (row) { return row.includes(event.target); });
      if (y < 0) { return; }
      var x = rows[y].indexOf(event.target);
      if (event.key === "ArrowRight") { x += 1; } else if (event.key === "ArrowLeft") { x -= 1; }
      else if (event.key === "ArrowDown") { y += 1; } else if (event.key === "ArrowUp") { y -= 1; }
      else if (event.key === "Home") { x = 0; } else if (event.key === "End") { x = rows[y].length - 1; }
      else if (event.key === "Escape") { event.target.blur(); return; }
      else { return; }
      event.preventDefault();
      var next = rows[y] && rows[y][x];
      if (!next) { return; }
      cells.forEach(function (cell) { cell.tabIndex = -1; });
      next.tabIndex = 0;
      next.focus();
    });
  });
  var stops = function () {
    document.querySelectorAll(".scroll").forEach(function (region) {
      if (region.scrollWidth > region.clientWidth) { region.tabIndex = 0; } else { region.removeAttribute("tabindex"); }
    });
  };
  stops();
  window.addEventListener("resize", stops);
  document.querySelectorAll("details").forEach(function (each) { each.addEventListener("toggle", stops); });
  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    closed.forEach(function (each) { each.open = true; });
  });
  window.addEventListener("afterprint", function () { closed.forEach(function (each) { each.open = false; }); });
})();
