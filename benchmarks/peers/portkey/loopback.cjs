// Portkey has no setting for the address that it listens on; a benchmark must not be reachable from outside.
const net = require("node:net");

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  if (typeof given[0] !== "number") return listen.apply(this, given);
  const told = given.filter((value) => typeof value === "function");
  return listen.call(this, { port: given[0], host: "127.0.0.1" }, ...told);
};
