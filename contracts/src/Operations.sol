// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The bytes of a batch
/// @notice Operations follow each other without padding. The first byte of each is its kind, numbers are big-endian.
library Operations {
    uint256 internal constant RULES = 0x01; // number u32, endsAt u40, priceCap u64, royalty u16, flags u8
    uint256 internal constant ISSUE = 0x02; // number u32, first u32, count u16
    uint256 internal constant DELIVER = 0x03; // token u64, version u16, to 20 bytes
    uint256 internal constant MOVE = 0x04; // token u64, version u16, to 20 bytes
    uint256 internal constant RESALE = 0x05; // token u64, version u16, to 20 bytes, price u64
    uint256 internal constant CHECK_IN = 0x06; // token u64
    uint256 internal constant CHECK_IN_WORD = 0x07; // number u32, word u24, mask 32 bytes
    uint256 internal constant VOID = 0x08; // token u64
    uint256 internal constant VOID_WORD = 0x09; // number u32, word u24, mask 32 bytes
    uint256 internal constant UNDO_CHECK_IN = 0x0a; // token u64
    uint256 internal constant UNVOID = 0x0b; // token u64

    /// A byte for each kind, the lowest for kind 0: the size of the operation with its first byte.
    uint256 private constant SIZES = 0x09_09_28_09_28_09_27_1f_1f_0b_15_00;

    /// The size of an operation of this kind, 0 for a kind that does not exist.
    function size(uint256 kind) internal pure returns (uint256) {
        return (SIZES >> (kind << 3)) & 0xff;
    }

    /// The longest operation has 40 bytes: two words hold each, and its fields are shifted out of them.
    uint256 internal constant TAIL_OFFSET = 8;

    /// The 32 bytes at this place.
    function word(bytes calldata ops, uint256 offset) internal pure returns (uint256 value) {
        // Assembly: a slice would be checked against the end each time. Every operation's size is checked once, and
        // what is read beyond its end (zeros beyond the call's) is shifted out by those who read its fields.
        assembly ("memory-safe") {
            value := calldataload(add(ops.offset, offset))
        }
    }

    // -- Fields of the first 32 bytes -----------------------------------------

    function kindOf(uint256 head) internal pure returns (uint256) {
        return head >> 248;
    }

    function rulesOf(
        uint256 head
    ) internal pure returns (uint32 number, uint40 endsAt, uint64 priceCap, uint16 royalty, uint8 flags) {
        return (uint32(head >> 216), uint40(head >> 176), uint64(head >> 112), uint16(head >> 96), uint8(head >> 88));
    }

    function issueOf(uint256 head) internal pure returns (uint256 number, uint256 first, uint256 count) {
        return (uint32(head >> 216), uint32(head >> 184), uint16(head >> 168));
    }

    function tokenOf(uint256 head) internal pure returns (uint256) {
        return uint64(head >> 184);
    }

    function moveOf(uint256 head) internal pure returns (uint256 token, uint256 version, address to) {
        return (tokenOf(head), uint16(head >> 168), address(uint160(head >> 8)));
    }

    /// The number of the event and that of the word within it, as one key.
    function wordKeyOf(uint256 head) internal pure returns (uint256) {
        return uint56(head >> 192);
    }

    // -- Fields of the 32 bytes from the ninth on ------------------------------

    function priceOf(uint256 tail) internal pure returns (uint256) {
        return uint64(tail >> 8);
    }

    function maskOf(uint256 tail) internal pure returns (uint256) {
        return tail;
    }
}
