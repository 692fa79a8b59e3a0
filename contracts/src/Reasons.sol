// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Why an operation is skipped, or a holder's transfer refused
/// @notice Where several apply, the lowest number is given.
library Reasons {
    uint256 internal constant NONE = 0;
    uint256 internal constant UNKNOWN_EVENT = 1;
    uint256 internal constant NOT_ISSUED = 2;
    uint256 internal constant OUT_OF_ORDER = 3;
    uint256 internal constant WRONG_VERSION = 4;
    /// Not where the operation takes it from: in a wallet, or in custody.
    uint256 internal constant WRONG_PLACE = 5;
    uint256 internal constant CHECKED_IN_ALREADY = 6;
    uint256 internal constant VOIDED = 7;
    uint256 internal constant ABOVE_CAP = 8;
    uint256 internal constant BAD_RECEIVER = 9;
    uint256 internal constant BAD_RULES = 10;
    /// Some or all bits of a word did not apply; the others did.
    uint256 internal constant PARTIAL = 11;
    uint256 internal constant VOIDED_ALREADY = 12;
    uint256 internal constant NOT_CHECKED_IN = 13;
    uint256 internal constant NOT_VOIDED = 14;
    /// Only for holders: the mirror moves locked tickets, because the ledger has its own rules.
    uint256 internal constant LOCKED = 15;
}
