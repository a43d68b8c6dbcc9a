// The modules that the table of entries uses; the rest of Tabulator is left out of the bundle.
import {
  FilterModule, FormatModule, FrozenColumnsModule, InteractionModule, ResizeColumnsModule, ResizeTableModule,
  ResponsiveLayoutModule, SortModule, Tabulator,
} from "tabulator-tables";

Tabulator.registerModule([
  FilterModule, FormatModule, FrozenColumnsModule, InteractionModule, ResizeColumnsModule, ResizeTableModule,
  ResponsiveLayoutModule, SortModule,
]);
export default Tabulator;
