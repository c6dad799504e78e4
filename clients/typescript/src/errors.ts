/** What ended a client or a subscription. `code` is a code of the contract, or the close code of the connection. */
export class MdstreamError extends Error {
  override readonly name = "MdstreamError";

  constructor(
    message: string,
    readonly code: string | number,
  ) {
    super(message);
  }
}

/** The gateway sent what the contract does not allow. */
export class ContractBroken extends Error {
  override readonly name = "ContractBroken";
}
