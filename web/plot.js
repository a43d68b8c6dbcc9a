// The marks that the pages draw; the rest of Plot is left out of the bundle.
export { axisX, axisY, binX, dot, plot, rectY, ruleX, ruleY, text, tickX, tickY } from "@observablehq/plot";
