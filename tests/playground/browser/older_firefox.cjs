// Loaded into Playwright's driver. It tells every new window of Firefox which colours to prefer, by a command that
// Firefox 153 lacks. The tests say that by a preference, and here the command becomes a question that changes nothing.
const stringify = JSON.stringify;
JSON.stringify = (value, ...rest) =>
  value?.method === "emulation.setMediaFeaturesOverride"
    ? stringify({ ...value, method: "session.status", params: {} }, ...rest)
    : stringify(value, ...rest);
