// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Reasons} from "./Reasons.sol";
import {Tickets} from "./Tickets.sol";
import {EventWord} from "./Words.sol";

/// @title Check-in and invalidation, one by one or 256 at a time, and how each is taken back
/// @notice A cancelled event makes all its tickets void without a mark. Nobody is admitted to it; other marks may still
/// be corrected, so that they are right if it takes place after all.
abstract contract MarkedTickets is Tickets {
    // -- One by one -----------------------------------------------------------

    function _checkIn(uint256 id) internal returns (uint256) {
        EventWord rules = _events[id >> 32];
        if (uint32(id) >= rules.issued()) return _missing(rules);
        Marks storage marks = _marks[id >> 8];
        uint256 spent = marks.spent;
        uint256 bit = _bitOf(id);
        if (spent & bit != 0) return marks.void_ & bit == 0 ? Reasons.CHECKED_IN_ALREADY : Reasons.VOIDED;
        if (rules.cancelled()) return Reasons.VOIDED;
        marks.spent = spent | bit;
        _mark(id >> 32, rules);
        emit CheckedIn(id);
        emit MetadataUpdate(id);
        if (!rules.opensTransfers() && _inWallet(id)) emit Unlocked(id);
        return Reasons.NONE;
    }

    function _undoCheckIn(uint256 id) internal returns (uint256) {
        EventWord rules = _events[id >> 32];
        if (uint32(id) >= rules.issued()) return _missing(rules);
        Marks storage marks = _marks[id >> 8];
        uint256 bit = _bitOf(id);
        if (marks.spent & bit == 0) return Reasons.NOT_CHECKED_IN;
        if (marks.void_ & bit != 0) return Reasons.VOIDED;
        marks.spent ^= bit;
        emit CheckInUndone(id);
        emit MetadataUpdate(id);
        if (!rules.opensTransfers() && !rules.cancelled() && _inWallet(id)) emit Locked(id);
        return Reasons.NONE;
    }

    function _void(uint256 id) internal returns (uint256) {
        EventWord rules = _events[id >> 32];
        if (uint32(id) >= rules.issued()) return _missing(rules);
        Marks storage marks = _marks[id >> 8];
        uint256 spent = marks.spent;
        uint256 bit = _bitOf(id);
        if (spent & bit != 0) return marks.void_ & bit == 0 ? Reasons.CHECKED_IN_ALREADY : Reasons.VOIDED_ALREADY;
        marks.spent = spent | bit;
        marks.void_ |= bit;
        _mark(id >> 32, rules);
        emit Voided(id);
        emit MetadataUpdate(id);
        if (rules.opensTransfers() && !rules.cancelled() && _inWallet(id)) emit Locked(id);
        return Reasons.NONE;
    }

    function _unvoid(uint256 id) internal returns (uint256) {
        EventWord rules = _events[id >> 32];
        if (uint32(id) >= rules.issued()) return _missing(rules);
        Marks storage marks = _marks[id >> 8];
        uint256 bit = _bitOf(id);
        if (marks.void_ & bit == 0) return Reasons.NOT_VOIDED;
        marks.spent ^= bit;
        marks.void_ ^= bit;
        emit VoidUndone(id);
        emit MetadataUpdate(id);
        if (rules.opensTransfers() && !rules.cancelled() && _inWallet(id)) emit Unlocked(id);
        return Reasons.NONE;
    }

    function _inWallet(uint256 id) private view returns (bool) {
        return _tickets[id].slot.owner() != address(0);
    }

    // -- By words -------------------------------------------------------------

    /// For tickets in custody: nothing is said of the locks of those that are in wallets.
    function _checkInWord(uint256 key, uint256 mask) internal returns (uint256) {
        EventWord rules = _events[key >> 24];
        if (!rules.known()) return Reasons.UNKNOWN_EVENT;
        uint256 applied = rules.cancelled() ? 0 : _spend(_marks[key], key, rules, mask);
        if (applied != 0) emit CheckedInWord(uint32(key >> 24), uint24(key), applied);
        return applied == mask && mask != 0 ? Reasons.NONE : Reasons.PARTIAL;
    }

    /// For tickets in custody, as above.
    function _voidWord(uint256 key, uint256 mask) internal returns (uint256) {
        EventWord rules = _events[key >> 24];
        if (!rules.known()) return Reasons.UNKNOWN_EVENT;
        Marks storage marks = _marks[key];
        uint256 applied = _spend(marks, key, rules, mask);
        if (applied != 0) {
            marks.void_ |= applied;
            emit VoidedWord(uint32(key >> 24), uint24(key), applied);
        }
        return applied == mask && mask != 0 ? Reasons.NONE : Reasons.PARTIAL;
    }

    /// Those of the mask's tickets that are issued and not yet spent; they are now.
    function _spend(Marks storage marks, uint256 key, EventWord rules, uint256 mask) private returns (uint256 applied) {
        uint256 spent = marks.spent;
        applied = mask & ~spent & _issuedBits(rules.issued(), uint32(key << 8));
        if (applied == 0) return 0;
        marks.spent = spent | applied;
        _mark(key >> 24, rules);
        emit BatchMetadataUpdate(key << 8, (key << 8) | 0xff);
    }

    /// A bit for each issued ticket among the 256 whose serials begin with `first`.
    function _issuedBits(uint256 issued, uint256 first) private pure returns (uint256) {
        if (issued <= first) return 0;
        unchecked {
            uint256 count = issued - first;
            return count >= 256 ? type(uint256).max : (1 << count) - 1;
        }
    }

    function _mark(uint256 number, EventWord rules) private {
        if (!rules.marked()) _events[number] = rules.withMarks();
    }
}
